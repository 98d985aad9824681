// Package probes owns the questions that a leader asks of other hosts: of
// their mysqld over TLS (sql.go) and of their daemon over HTTPS (daemon.go).
// A probe judges nothing: it says what kind of answer came.
package probes
