package replication

import (
	"testing"
	"time"
)

func TestASessionIsAskedForAWhileBeforeItIsCutOff(t *testing.T) {
	var d dumpEnds
	at := time.Now()
	if for1, for2 := d.asked(7, at), d.asked(8, at.Add(time.Second)); for1 != 0 || for2 != 0 {
		t.Errorf("asked for the first time, for %s and %s", for1, for2)
	}
	if got := d.asked(7, at.Add(3*time.Second)); got != 3*time.Second || got <= dumpPatience {
		t.Errorf("asked again after 3 s: for %s", got)
	}
	if got := d.asked(7, at.Add(dumpForgotten+time.Millisecond)); got != 0 {
		t.Errorf("another session of the same number, after a minute, has been asked for %s", got)
	}
}
