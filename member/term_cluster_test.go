package member

import (
	"testing"

	"github.com/mysqlha/mysqlha/replication/process"
)

// What is remembered of one cluster says nothing of another, and nothing of what a
// server gets after it has left (S7).
func TestS7_WhatIsRememberedBelongsToOneCluster(t *testing.T) {
	dir := t.TempDir()
	open := func() *termFile {
		t.Helper()
		f, err := openTermFile(dir)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := open()
	is := func(cluster string, member, foreign bool) {
		t.Helper()
		if got, err := f.belongs(cluster, member); err != nil || got != foreign {
			t.Fatalf("of %s, a member %t: foreign %t, %v", cluster, member, got, err)
		}
	}
	is("one", false, false) // It has not been let in.
	if f.now().Cluster != "" {
		t.Fatal("a cluster that it is not of is remembered")
	}
	is("one", true, false)
	f.followed(3)
	if err := f.opened(process.Opened{Term: 2, Run: "r"}); err != nil {
		t.Fatal(err)
	}
	is("one", true, false)
	if now := f.now(); now.FollowedTerm != 3 || now.Opened.Term != 2 {
		t.Fatalf("forgotten while it is a member: %+v", now)
	}
	is("two", true, true)
	is("one", false, false)
	f = open()
	if now := f.now(); now.Cluster != "one" || now.FollowedTerm != 0 || now.tailOf() != 0 || now.Opened.Run != "" || now.Term != 2 {
		t.Errorf("after it has left: %+v", now)
	}
}
