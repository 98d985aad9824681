// Package probes owns the questions that a leader asks of another host's
// mysqld over TLS. A probe judges nothing: it says what kind of answer came.
// The daemons are asked over HTTPS, through the api package's client.
package probes
