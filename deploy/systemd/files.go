// Package systemd has what a host's system needs for mysqlhad, for programs that set one
// up: its units and users are files beside this one, and so are the kernel's settings.
// It imports nothing of ours.
package systemd

import _ "embed"

//go:embed mysqlha.sysctl
var kernel []byte

// Kernel returns the kernel's settings for the hosts of MySQL servers, in the form of
// sysctl.d.
func Kernel() []byte { return append([]byte(nil), kernel...) }
