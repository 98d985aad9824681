package systemd_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The daemons measure their host in /proc, where they may see no process of others. With
// ProcSubset=pid there would be no figures, and Go would let 128 connections queue at a
// listener instead of what the host allows, since it could not read that either.
func TestTheDaemonsSeeTheHostAndNobodyElse(t *testing.T) {
	for _, unit := range []string{"mysqlhad.service", "mysqlha-redirector.service"} {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		for _, must := range []string{"ProtectProc=invisible", "ProtectKernelTunables=yes", "ProtectKernelLogs=yes", "ProtectClock=yes", "CapabilityBoundingSet="} {
			if !slices.Contains(lines, must) {
				t.Errorf("%s lacks %s", unit, must)
			}
		}
		for _, line := range lines {
			if strings.HasPrefix(line, "ProcSubset=") {
				t.Errorf("%s has %s", unit, line)
			}
		}
	}
}
