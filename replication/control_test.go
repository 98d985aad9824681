package replication_test

import (
	"context"
	"testing"

	"github.com/mysqlha/mysqlha/replication"
	"github.com/mysqlha/mysqlha/replication/guard"
)

// S8: a closed server is closed again after it, and no trace is in its binary log.
func TestS8_TheDaemonsAccountOnAClosedServerGetsAnotherPassword(t *testing.T) {
	s := startAll(t, "a")[0]
	ctx := t.Context()
	statements, first, err := guard.ControlSQL("mysqlha")
	do(t, "make the statements", err)
	do(t, "make the account", s.local.Mend(ctx, statements, func(string) {}))
	as := func(password string) *replication.Local {
		l, err := replication.OpenLocal(replication.Options{Server: "a", Socket: s.socket, User: "mysqlha", Password: func() (string, error) { return password, nil }})
		do(t, "open", err)
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	opens := func(password string) bool {
		_, err := as(password).HasFormerPassword(ctx)
		if err != nil && !replication.RefusesLogin(err) {
			t.Fatal(err)
		}
		return err == nil
	}
	control, next := as(first), hash(t, "the next one")
	before := s.read(t)

	if err := control.GivePassword(ctx, next, false); err == nil {
		t.Error("a closed server was changed without being asked to open for that")
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := control.GivePassword(gone, next, true); err == nil {
		t.Error("it was done after it was given up")
	}
	do(t, "give", control.GivePassword(ctx, next, true))
	has, err := control.HasPassword(ctx, next)
	do(t, "has", err)
	if !has || !opens(first) || !opens("the next one") {
		t.Errorf("has the next %t; opened by the first %t, by the next %t", has, opens(first), opens("the next one"))
	}
	if after := s.read(t); !after.SuperReadOnly || !after.ReadOnly || !after.Executed.Equal(before.Executed) {
		t.Errorf("after it: super_read_only %t, read_only %t, executed %s", after.SuperReadOnly, after.ReadOnly, after.Executed)
	}
	control = as("the next one") // Later logins, too, must be good.
	do(t, "drop", control.DropFormerPassword(ctx, true))
	if opens(first) || !opens("the next one") {
		t.Errorf("opened by the first %t, by the next %t", opens(first), opens("the next one"))
	}
	if after := s.read(t); !after.SuperReadOnly || !after.Executed.Equal(before.Executed) {
		t.Errorf("in the end: super_read_only %t, executed %s", after.SuperReadOnly, after.Executed)
	}
	s.exec(t, "SET GLOBAL super_read_only = OFF")
	s.exec(t, "SET GLOBAL read_only = OFF")
	if err := control.GivePassword(ctx, hash(t, "a third"), true); err == nil {
		t.Error("an open server was to be closed")
	}
	do(t, "give on an open server", control.GivePassword(ctx, hash(t, "a third"), false))
	if after := s.read(t); after.ReadOnly {
		t.Error("an open server was closed")
	}
}
