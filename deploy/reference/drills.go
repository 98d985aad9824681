package reference

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/reference/customer"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
)

// The measures of a drill.
const (
	drillCustomers = 8
	// ordersBefore are acknowledged before the harm is done, ordersAfter after it, in
	// leastHold at least; where none can be, after it is mended.
	ordersBefore = 100
	ordersAfter  = 300
	leastHold    = 8 * time.Second
	// drillTimeout bounds a drill, besides its hold, mendTimeout the end of its harm, and
	// silenceTimeout the wait for the end of alerts of the same name before it:
	// MysqlhaFenced is told of for five minutes.
	drillTimeout   = 5 * time.Minute
	mendTimeout    = 30 * time.Second
	silenceTimeout = 6 * time.Minute
)

// Drill is a harm that is done to a site under orders, and mended.
type Drill struct {
	// Name is one word, What a sentence.
	Name, What string
	// Stops tells that no order can be acknowledged until it is mended.
	Stops bool
	// raises are the names of the alerts that it must raise, back of those that it raises
	// once it is mended; it may raise no others.
	raises, back []string
	// harm does it.
	harm func(*Site, context.Context) (harm, error)
}

// alerts are the names of all that it must raise.
func (d Drill) alerts() []string { return append(slices.Clone(d.raises), d.back...) }

// harm is what a drill has done to a site.
type harm struct {
	// struck are the hosts, or the tier, that alerts may be about.
	struck []string
	// mend undoes it; nil for what mends itself.
	mend func(context.Context) error
	// movedTo is the balancer that took the public address over, and moved how long that
	// took; empty for a drill that does not look at it.
	movedTo string
	moved   time.Duration
}

// DrillResult is what came of a drill.
type DrillResult struct {
	// Name is the drill's.
	Name string
	// MovedTo is the balancer that took the public address over, and Moved how long that
	// took; empty where the drill does not look at it.
	MovedTo string
	Moved   time.Duration
	// Customers is what they saw, Found what the database has.
	Customers customer.Report
	Found     customer.Found
	// Alerts are those that came up, from the harm until the site was whole again; Missing
	// those that should have, and Unexpected those that should not.
	Alerts     []Raised
	Missing    []string
	Unexpected []Alert
}

// Err says what the drill has shown to be broken, nil for nothing.
func (r DrillResult) Err() error {
	var errs []error
	if !r.Found.OK() {
		errs = append(errs, fmt.Errorf("the promise was broken: %s", r.Found))
	}
	if len(r.Missing) > 0 {
		errs = append(errs, fmt.Errorf("nobody would have been told: there was no alert %s", strings.Join(r.Missing, ", ")))
	}
	if len(r.Unexpected) > 0 {
		errs = append(errs, fmt.Errorf("there were other alerts: %v", r.Unexpected))
	}
	return errors.Join(errs...)
}

// Drills returns all drills in the order in which they wait least for each other's alerts.
func Drills() []Drill {
	first := func(tier config.Tier) func(*Site, context.Context) (harm, error) {
		return func(s *Site, ctx context.Context) (harm, error) {
			return s.losePower(ctx, namesOf(hostsOf(s.layout.site, tier))[:1]...)
		}
	}
	whole := func(tier config.Tier, alert string) Drill {
		return Drill{Name: string(tier) + "-tier", What: fmt.Sprintf("all hosts of the tier %s lose power", tier), Stops: true, raises: []string{alert},
			harm: func(s *Site, ctx context.Context) (harm, error) {
				h, err := s.losePower(ctx, namesOf(hostsOf(s.layout.site, tier))...)
				h.struck = []string{string(tier)}
				return h, err
			}}
	}
	const gone = "SiteHostGone"
	return []Drill{
		{Name: "balancer", What: "the balancer that has the public address loses power", raises: []string{gone}, harm: (*Site).loseBalancer},
		{Name: "haproxy", What: "HAProxy is killed on the balancer that has the public address", raises: []string{"SiteProgramRestarted"}, harm: (*Site).killBalancer},
		{Name: "web", What: "a web server loses power", raises: []string{gone}, harm: first(config.TierWeb)},
		{Name: "app", What: "an application server loses power", raises: []string{gone}, harm: first(config.TierApp)},
		{Name: "primary", What: "the primary's mysqld is killed (kill -9)", raises: []string{"MysqlhaFailover"}, harm: func(s *Site, ctx context.Context) (harm, error) {
			return harm{}, s.cluster.Signal(ctx, "primary", syscall.SIGKILL)
		}},
		{Name: "etcd", What: "etcd has no quorum: none of its members hears another", raises: []string{"MysqlhaNoLeader"}, harm: (*Site).stopEtcd},
		whole(config.TierLB, "SiteTierDown"),
		whole(config.TierWeb, "SiteTierDown"),
		whole(config.TierApp, "SiteTierDown"),
		whole(config.TierDB, "MysqlhaNoPrimary"),
		// Last, since MysqlhaFailover is told of for two minutes, also after "primary".
		{Name: "network", What: "the primary's host is cut off", raises: []string{gone, "MysqlhaFailover"}, back: []string{"MysqlhaFenced"}, harm: (*Site).isolatePrimary},
	}
}

// holder is the balancer that has the public address.
func (s *Site) holder(ctx context.Context) (string, error) {
	holders, err := s.Holders(ctx)
	if err == nil && len(holders) != 1 {
		err = fmt.Errorf("%v have the public address", holders)
	}
	if err != nil {
		return "", err
	}
	return holders[0], nil
}

// losePower cuts hosts off and kills all that runs there. What is started again there has
// no network until it is mended, as on a host that comes back.
func (s *Site) losePower(ctx context.Context, hosts ...string) (harm, error) {
	h := harm{struck: hosts, mend: func(ctx context.Context) (err error) {
		for _, host := range hosts {
			err = errors.Join(err, s.Plug(ctx, host, true))
		}
		return err
	}}
	for _, host := range hosts {
		if err := s.Plug(ctx, host, false); err != nil {
			return h, err
		}
	}
	own, err := s.Processes()
	if err != nil {
		return h, err
	}
	cluster, _, err := s.cluster.Processes()
	if err != nil {
		return h, err
	}
	var errs []error
	for _, p := range append(own.Programs, cluster.Programs...) {
		host, _, _ := strings.Cut(p.Name, "/")
		if !slices.Contains(hosts, host) {
			continue
		}
		if err := p.Signal(syscall.SIGKILL); !errors.Is(err, process.ErrGone) {
			errs = append(errs, err)
		}
	}
	return h, errors.Join(errs...)
}

// loseBalancer tells how long it took until another one had the address.
func (s *Site) loseBalancer(ctx context.Context) (harm, error) {
	holder, err := s.holder(ctx)
	if err != nil {
		return harm{}, err
	}
	begun := time.Now()
	h, err := s.losePower(ctx, holder)
	if err != nil {
		return h, err
	}
	err = sandbox.Poll(ctx, pollInterval, "waiting until another balancer has the public address", func(ctx context.Context) error {
		holders, err := s.Holders(ctx)
		if i := slices.IndexFunc(holders, func(h string) bool { return h != holder }); i >= 0 {
			h.movedTo, h.moved = holders[i], time.Since(begun)
			return nil
		}
		return errors.Join(err, errors.New("none has"))
	})
	return h, err
}

func (s *Site) killBalancer(ctx context.Context) (harm, error) {
	holder, err := s.holder(ctx)
	if err != nil {
		return harm{}, err
	}
	return harm{struck: []string{holder}}, s.Signal(holder+"/haproxy", syscall.SIGKILL)
}

func (s *Site) isolatePrimary(ctx context.Context) (harm, error) {
	primary, err := s.cluster.Primary(ctx)
	if err != nil {
		return harm{}, err
	}
	return harm{struck: []string{primary}, mend: func(ctx context.Context) error { return s.Plug(ctx, primary, true) }}, s.Plug(ctx, primary, false)
}

// stopEtcd has all database hosts drop what others want from their members of etcd.
func (s *Site) stopEtcd(ctx context.Context) (harm, error) {
	const table = "inet drill"
	p := s.layout.site.Ports
	deaf := []string{"add table " + table, "add chain " + table + " input { type filter hook input priority -200; }",
		fmt.Sprintf("add rule %s input iifname eth0 tcp dport { %d, %d } drop", table, p.EtcdClient, p.EtcdPeer)}
	each := func(ctx context.Context, commands ...string) (err error) {
		for _, h := range hostsOf(s.layout.site, config.TierDB) {
			nft := s.layout.wires().in(h.Name, "nft", strings.Join(commands, "; "))
			err = errors.Join(err, run(ctx, nft[0], nft[1:]...))
		}
		return err
	}
	// Adding it first makes its removal succeed where there is none.
	return harm{mend: func(ctx context.Context) error { return each(ctx, deaf[0], "delete table "+table) }}, each(ctx, deaf...)
}

// Run carries a drill out under orders, has its harm last for hold at least, mends it, and
// waits until the site is whole again. Its error is about what could not be carried out;
// what the drill has shown is in the result.
func (s *Site) Run(ctx context.Context, d Drill, hold time.Duration) (r DrillResult, err error) {
	r.Name = d.Name
	silence, stop := context.WithTimeoutCause(ctx, silenceTimeout, fmt.Errorf("they had not ended after %s", silenceTimeout))
	defer stop()
	if err := s.awaitSilence(silence, d.alerts()); err != nil {
		return r, err
	}
	hold = max(hold, leastHold)
	ctx, cancel := context.WithTimeoutCause(ctx, drillTimeout+hold, fmt.Errorf("the drill was not over within %s", drillTimeout+hold))
	defer cancel()
	crowd, err := s.Order(ctx, Crowd{Customers: drillCustomers})
	if err != nil {
		return r, err
	}
	if err := crowd.Await(ctx, ordersBefore); err != nil {
		return r, err
	}
	alerts, err := s.watchAlerts(ctx)
	if err != nil {
		return r, err
	}
	defer alerts.stop()
	h, err := s.suffer(ctx, d, hold, crowd, alerts)
	r.MovedTo, r.Moved = h.movedTo, h.moved
	if err == nil && d.Stops {
		err = crowd.AwaitSince(ctx, time.Now(), ordersAfter)
	}
	var left error
	if r.Customers, left = crowd.Stop(); left != nil || err != nil {
		return r, errors.Join(err, left)
	}
	if r.Found, err = s.Check(ctx, r.Customers.Acks); err != nil {
		return r, err
	}
	if err := s.AwaitWhole(ctx); err != nil {
		return r, err
	}
	if err := alerts.await(ctx, d.back); err != nil {
		return r, err
	}
	if err := s.awaitJudged(ctx, alerts.began); err != nil {
		return r, err
	}
	r.judge(d, h.struck, alerts.end(ctx))
	return r, nil
}

// suffer does the harm, has it last, and mends it whatever has become of the rest.
func (s *Site) suffer(ctx context.Context, d Drill, hold time.Duration, crowd *Orders, alerts *alertWatch) (h harm, err error) {
	begun := time.Now()
	h, err = d.harm(s, ctx)
	defer func() {
		if h.mend != nil {
			clean, stop := context.WithTimeout(context.WithoutCancel(ctx), mendTimeout)
			defer stop()
			err = errors.Join(err, h.mend(clean))
		}
	}()
	if err != nil {
		return h, err
	}
	if !d.Stops {
		if err := crowd.AwaitSince(ctx, begun, ordersAfter); err != nil {
			return h, err
		}
	}
	if err := alerts.await(ctx, d.raises); err != nil {
		return h, err
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(begun.Add(hold))):
	}
	return h, context.Cause(ctx)
}

// judge compares the alerts that came up with those that should have.
func (r *DrillResult) judge(d Drill, struck []string, raised []Raised) {
	r.Alerts = raised
	r.Missing = without(d.alerts(), raised)
	for _, a := range raised {
		if !slices.Contains(d.alerts(), a.Name) || a.Of != "" && !slices.Contains(struck, a.Of) {
			r.Unexpected = append(r.Unexpected, a.Alert)
		}
	}
}

// AwaitWhole returns when all replicas are in sync, one balancer has the public address
// and the monitoring sees everything.
func (s *Site) AwaitWhole(ctx context.Context) error {
	if err := s.cluster.AwaitCluster(ctx, "all replicas are in sync", func(c api.Cluster) bool { return sandbox.Settled(c) }); err != nil {
		return err
	}
	return sandbox.Poll(ctx, pollInterval, "waiting until the site is whole", func(ctx context.Context) error {
		if _, err := s.holder(ctx); err != nil {
			return err
		}
		return errors.Join(s.steady(), s.Healthy(ctx))
	})
}
