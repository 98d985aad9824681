// Package texts owns texts that are shipped as they are: what the packages have as
// examples, and what hosts are made of. It imports nothing of ours.
package texts

import _ "embed"

//go:embed mysqlha.cnf
var options []byte

// MySQLOptions returns the options that a lossless cluster needs of mysqld.
func MySQLOptions() []byte { return append([]byte(nil), options...) }
