package metrics_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mysqlha/mysqlha/metrics"
)

func TestMysqldIsAskedWhenSomebodyScrapes(t *testing.T) {
	r := metrics.New("x")
	if text := scrape(t, r); strings.Contains(text, "mysqlha_mysqld_questions_total") {
		t.Error("there are figures of a server that nobody has")
	}
	var asked atomic.Int64
	r.ReadMysqld(func(_ context.Context, status, variables []string) (map[string]float64, error) {
		asked.Add(1)
		if !slices.Contains(status, "Questions") || !slices.Contains(variables, "max_connections") {
			t.Errorf("asked for %v and %v", status, variables)
		}
		return map[string]float64{"Questions": 12, "Com_commit": 3, "@max_connections": 151, "Innodb_row_lock_time": 2500, "Rpl_semi_sync_source_tx_wait_time": 1.5e6, "Threads_running": 2}, nil
	})
	text := scrape(t, r)
	for _, line := range []string{
		`mysqlha_mysqld_questions_total 12`, `mysqlha_mysqld_statements_total{kind="commit"} 3`, `mysqlha_mysqld_connections_limit 151`,
		`mysqlha_mysqld_row_lock_wait_seconds_total 2.5`, `mysqlha_semisync_wait_seconds_total 1.5`, `mysqlha_mysqld_threads{state="running"} 2`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("there is no line %s", line)
		}
	}
	if strings.Contains(text, `kind="select"`) {
		t.Error("what the server did not say is told")
	}
	scrape(t, r)
	if n := asked.Load(); n != 1 {
		t.Errorf("two scrapes at once asked %d times", n)
	}
}

func TestAServerThatDoesNotAnswerHasNoFigures(t *testing.T) {
	r := metrics.New("x")
	r.ReadMysqld(func(context.Context, []string, []string) (map[string]float64, error) {
		return map[string]float64{"Questions": 12}, errors.New("gone")
	})
	if text := scrape(t, r); strings.Contains(text, "mysqlha_mysqld_questions_total") {
		t.Error("they are told")
	}
}

func TestTheHostIsMeasured(t *testing.T) {
	r := metrics.New("x")
	if text := scrape(t, r); strings.Contains(text, "mysqlha_host_") {
		t.Error("it is, and nobody asked for that")
	}
	r.WatchHost(map[string]string{"data": t.TempDir(), "none": "/is/not/there"})
	text := scrape(t, r)
	for _, part := range []string{`mysqlha_host_cpu_seconds_total{mode="user"}`, `mysqlha_host_memory_bytes{state="available"}`, `mysqlha_host_load1 `,
		`mysqlha_host_volume_bytes{state="size",volume="data"}`, `mysqlha_host_clock_synchronised `} {
		if !strings.Contains(text, "\n"+part) {
			t.Errorf("there is no line %s", part)
		}
	}
	for _, not := range []string{`volume="none"`, `interface="lo"`} {
		if strings.Contains(text, not) {
			t.Errorf("there is %s", not)
		}
	}
}
