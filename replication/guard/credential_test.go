package guard

import (
	"os"
	"strings"
	"testing"
)

func TestMysqldIsForkedAsItsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start a process as another user")
	}
	args := []string{"/bin/sh", "-c", "while :; do sleep 1000; done", "mysqld", "--user=nobody"}
	c, err := startChild(Options{}, args, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.kill(); err != nil {
			t.Error(err)
		}
	}()
	if err := c.checkOwner(); err != nil || c.uid == 0 {
		t.Errorf("user %d: %v", c.uid, err)
	}
	c.uid = 0 // As if it had changed its user itself.
	if err := c.checkOwner(); err == nil || !strings.Contains(err.Error(), "outlive") {
		t.Errorf("a changed user: %v", err)
	}
}

func TestRootMustNameTheUserOnTheCommandLine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root must")
	}
	if _, err := credential([]string{"mysqld"}); err == nil || !strings.Contains(err.Error(), "--user") {
		t.Errorf("without --user: %v", err)
	}
	if _, err := credential([]string{"mysqld", "--user=no-such-user"}); err == nil {
		t.Error("an unknown user was accepted")
	}
}
