// Package alertmanager has the routing for an Alertmanager, for programs that set one up.
// It imports nothing of ours.
package alertmanager

import _ "embed"

//go:embed alertmanager.yml
var routing []byte

// Routing returns the shipped configuration, with its examples of receivers.
func Routing() []byte { return append([]byte(nil), routing...) }
