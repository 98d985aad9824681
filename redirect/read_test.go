package redirect

import (
	"context"
	"maps"
	"testing"
	"time"
)

func TestReadsAreSpread(t *testing.T) {
	db1, db2, db3 := newBackend(t, "db1", echo("db1")), newBackend(t, "db2", echo("db2")), newBackend(t, "db3", echo("db3"))
	r := start(t, Route{Term: 1, Writer: &db1.Target, Readers: []Target{db2.Target, db3.Target}}, Options{ReadFallback: true})
	clients := map[string][]*client{}
	connect := func() {
		c := dialTo(t, r.Addresses().Read)
		name := c.greeting(t)
		clients[name] = append(clients[name], c)
	}
	for range 10 {
		connect()
	}
	if len(clients["db2"]) != 5 || len(clients["db3"]) != 5 {
		t.Fatalf("db2 has %d, db3 %d of 10 sessions", len(clients["db2"]), len(clients["db3"]))
	}
	for _, c := range clients["db2"][:4] {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]int{"db2": 1, "db3": 5}
	eventually(t, "the closed sessions are gone", func() bool { return maps.Equal(r.Stats().Servers, want) })
	clients["db2"] = clients["db2"][4:]
	for range 4 {
		connect()
	}
	if len(clients["db2"]) != 5 {
		t.Errorf("the server with the fewest sessions got %d of 4", len(clients["db2"])-1)
	}
	if stats := r.Stats(); stats.ReadSessions != 10 || stats.WriteSessions != 0 {
		t.Errorf("stats %+v", stats)
	}
}

func TestReadsTakeTurnsAmongIdleReplicas(t *testing.T) {
	table := newTable()
	table.apply(Route{Readers: []Target{{"db1", "a"}, {"db2", "b"}, {"db3", "c"}}})
	var got []string
	for range 6 {
		s := newSession(context.Background(), ReadPort, nil)
		_, to, ok := table.reserve(s.ctx, s, nil, false)
		if !ok {
			t.Fatal("no reader")
		}
		got = append(got, to.target.Server)
		table.release(s, false)
	}
	for i, want := range []string{"db1", "db2", "db3", "db1", "db2", "db3"} {
		if got[i] != want {
			t.Fatalf("the turns were %v", got)
		}
	}
}

func TestReadPort(t *testing.T) {
	db1, db2 := newBackend(t, "db1", echo("db1")), newBackend(t, "db2", echo("db2"))
	dead := Target{"db3", closedAddress(t)}
	tests := []struct {
		name     string
		route    Route
		fallback bool
		want     string // empty: held
	}{
		{"a dead replica is skipped", Route{Term: 1, Writer: &db1.Target, Readers: []Target{dead, db2.Target}}, false, "db2"},
		{"without a fresh replica the primary serves", Route{Term: 1, Writer: &db1.Target}, true, "db1"},
		{"without a living replica the primary serves", Route{Term: 1, Writer: &db1.Target, Readers: []Target{dead}}, true, "db1"},
		{"without a fresh replica and without fallback it is held", Route{Term: 1, Writer: &db1.Target}, false, ""},
		{"without a living replica and without fallback it is held", Route{Term: 1, Writer: &db1.Target, Readers: []Target{dead}}, false, ""},
		{"without a replica and a primary it is held", Route{Term: 1}, true, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, test.route, Options{ReadFallback: test.fallback})
			c := dialTo(t, r.Addresses().Read)
			if test.want == "" {
				r.diary.waitHeld(t, 1)
				r.board.set(Route{Term: 1, Readers: []Target{db2.Target}})
				if got := c.greeting(t); got != "db2" {
					t.Errorf("after the hold reached %q", got)
				}
				return
			}
			if got := c.greeting(t); got != test.want {
				t.Errorf("reached %q, want %q", got, test.want)
			}
			fell := r.diary.sees(func(d *diary) bool { return d.fallbacks == 1 })
			if fell != (test.want == "db1") {
				t.Errorf("fallback reported: %t", fell)
			}
			if r.diary.sees(func(d *diary) bool { return d.held > 0 }) {
				t.Error("it was held")
			}
		})
	}
}

func TestASilentReplicaIsAskedLastForAWhile(t *testing.T) {
	silent := Target{"db2", fullListener(t)}
	db3 := newBackend(t, "db3", echo("db3"))
	timeout := 300 * time.Millisecond
	r := start(t, Route{Term: 1, Readers: []Target{silent, db3.Target}}, Options{DialTimeout: timeout})
	dialTo(t, r.Addresses().Read).greeting(t) // pays for the dial
	begun := time.Now()
	dialTo(t, r.Addresses().Read).greeting(t)
	if took := time.Since(begun); took >= timeout {
		t.Errorf("the second session, too, waited for the silent replica: %s", took)
	}
}

func TestAReplicaIsNotBlamedForADialThatARouteEnded(t *testing.T) {
	silent := Target{"db2", fullListener(t)}
	db3 := newBackend(t, "db3", echo("db3"))
	r := start(t, Route{Term: 1, Readers: []Target{silent}}, Options{DialTimeout: patience})
	c := dialTo(t, r.Addresses().Read)
	eventually(t, "db2 is being dialled", func() bool { return r.Stats().Servers["db2"] == 1 })
	r.board.set(Route{Term: 1, Readers: []Target{db3.Target}})
	c.greeting(t)
	r.table.mu.Lock()
	defer r.table.mu.Unlock()
	if len(r.table.avoid) != 0 {
		t.Errorf("blamed: %v", r.table.avoid)
	}
}
