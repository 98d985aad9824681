// Package prometheus has the rules for a Prometheus, for programs that set one up. It
// imports nothing of ours.
package prometheus

import _ "embed"

//go:embed mysqlha.rules.yml
var rules []byte

// Rules returns the shipped rules.
func Rules() []byte { return append([]byte(nil), rules...) }
