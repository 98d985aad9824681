package reference

import (
	"slices"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/deploy/reference/customer"
)

func TestADrillHasItsAlertAndNoOther(t *testing.T) {
	d := Drill{raises: []string{"SiteHostGone"}, back: []string{"MysqlhaFenced"}}
	raised := func(names ...string) (all []Raised) {
		for i := 0; i < len(names); i += 2 {
			all = append(all, Raised{Alert{names[i], names[i+1]}, time.Second})
		}
		return all
	}
	for name, c := range map[string]struct {
		raised     []Raised
		missing    []string
		unexpected []Alert
	}{
		"both":             {raised("SiteHostGone", "db1", "MysqlhaFenced", "db1"), nil, nil},
		"of nobody":        {raised("SiteHostGone", "db1", "MysqlhaFenced", ""), nil, nil},
		"none":             {nil, []string{"SiteHostGone", "MysqlhaFenced"}, nil},
		"one is missing":   {raised("SiteHostGone", "db1"), []string{"MysqlhaFenced"}, nil},
		"another":          {raised("SiteHostGone", "db1", "MysqlhaFenced", "db1", "MysqlhaNoLeader", ""), nil, []Alert{{"MysqlhaNoLeader", ""}}},
		"of another host":  {raised("SiteHostGone", "db1", "SiteHostGone", "db2", "MysqlhaFenced", "db1"), nil, []Alert{{"SiteHostGone", "db2"}}},
		"of another alone": {raised("SiteHostGone", "db2", "MysqlhaFenced", "db1"), nil, []Alert{{"SiteHostGone", "db2"}}},
	} {
		var r DrillResult
		r.judge(d, []string{"db1"}, c.raised)
		if !slices.Equal(r.Missing, c.missing) || !slices.Equal(r.Unexpected, c.unexpected) {
			t.Errorf("%s: missing %v, unexpected %v", name, r.Missing, r.Unexpected)
		}
		if ok := c.missing == nil && c.unexpected == nil; (r.Err() == nil) != ok {
			t.Errorf("%s: %v", name, r.Err())
		}
	}
	if (DrillResult{Found: customer.Found{Lost: []string{"x"}}}).Err() == nil {
		t.Error("a lost order is no failure")
	}
}
