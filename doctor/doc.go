// Package doctor judges how fit a server is for its cluster: whether its variables,
// plugins, accounts, certificates, options and tables let the promises be kept, now
// and after its next start. It judges facts that others have read; what it finds has a
// stable code, a severity, and, where there is one, the statement or line that sets it
// right. An adoption uses the same findings: what can be set right on a running server
// is, and the rest stands in its way.
package doctor
