// Package certs owns two things: a small certificate authority for sandboxes
// and for people without a PKI, and TLS settings that follow certificate files
// as they are replaced.
//
// The commands and every room that listens or dials may import it; it imports
// none of the other rooms. It starts no goroutines: files are looked at when a
// handshake needs them.
//
// Verification is always complete: the chain up to the configured CA, the time,
// the use, and as a client the name. crypto/tls can verify only against a CA
// that is fixed when the settings are made, so the verification is done here,
// in VerifyConnection, against the CA as it is on disk at that moment.
package certs
