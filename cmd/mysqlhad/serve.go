package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/bus"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/election"
	"github.com/mysqlha/mysqlha/hooks"
	"github.com/mysqlha/mysqlha/logs"
	"github.com/mysqlha/mysqlha/member"
	"github.com/mysqlha/mysqlha/metrics"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/redirect"
	"github.com/mysqlha/mysqlha/routing"
)

// memoryGrowth is how far the heap grows between two collections, in per cent.
// A daemon lives beside a database that wants the memory itself.
const memoryGrowth = 40

// daemon is what the parts of one daemon share.
type daemon struct {
	cfg     *config.Config
	log     *slog.Logger
	files   certs.Files
	metrics *metrics.Registry
	etcd    *etcdRole // nil without the role
	// etcdHosts are those of all members of etcd that are known.
	etcdHosts atomic.Pointer[[]string]
	started   time.Time
	client    *clientv3.Client
	keys      election.Keys
	bus       *bus.Bus
	peers     *dialled[*api.Client] // the daemons' APIs
	elector   *elector              // nil with neither member nor witness
	member    *memberRole           // nil without the role
	courier   *hooks.Courier
	// examined is what the doctor finds here.
	examined shared[api.Examination]
	// recent is what the server of this host did lately.
	recent recent
	// tls watches over the certificates of this host.
	tls *certificates
	// retiring: the daemon was told to stop; drained is closed when its redirector has
	// ended, nil without one.
	retiring atomic.Bool
	drained  chan struct{}
	// configured are the servers with which a cluster begins.
	configured []decide.Server
}

// serve runs a daemon until ctx ends.
func serve(ctx context.Context, cfg *config.Config, log *slog.Logger) (err error) {
	debug.SetGCPercent(memoryGrowth)
	if os.Getenv("GOMAXPROCS") == "" && !cfg.HasRole(config.RoleRedirector) {
		// A member has next to nothing to do at the same time. A second
		// processor only wakes up to find that out, 3.7 to 4.5 % of a core on an
		// idle cluster instead of 2.1 to 3.3.
		runtime.GOMAXPROCS(1)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the daemon's folder: %w", err)
	}
	d := &daemon{cfg: cfg, log: log, started: time.Now(), metrics: metrics.New(version), keys: election.NewKeys(cfg.Cluster),
		files: tlsFiles(cfg, log), configured: configured(cfg)}
	if err := d.files.Check(); err != nil {
		return err
	}
	if cfg.HasRole(config.RoleEtcd) {
		if d.etcd, err = newEtcdRole(ctx, d); err != nil {
			return err
		}
		defer d.etcd.leave()
	}
	d.setHosts(cfg.EtcdEndpoints())
	d.client, err = election.Dial(ctx, election.ClientOptions{Endpoints: cfg.EtcdEndpoints(),
		TLS: certs.ClientConfigAny(d.files, d.hosts, etcdRoles(cfg)...), Logger: log})
	if err != nil {
		return err
	}
	defer d.client.Close() //nolint:errcheck // nothing depends on how the connection ends
	d.bus = bus.New(d.client, d.keys, cfg.Name, log)
	d.peers, d.tls = d.newPeers(), &certificates{d: d}
	d.courier = hooks.NewCourier(hooksOf(cfg), told{d.metrics}, log)
	for _, h := range cfg.Hooks {
		d.metrics.WatchHook(h.Name)
	}
	return d.run(ctx)
}

// tlsFiles are the host's certificates.
func tlsFiles(cfg *config.Config, log *slog.Logger) certs.Files {
	return certs.Files{CA: cfg.TLS.CA, Cert: cfg.TLS.Cert, Key: cfg.TLS.Key, Roles: rolesNeeded(cfg),
		OnError: func(err error) { log.Error("TLS files are not usable, the last good ones stay in use", "error", err) }}
}

// etcdRoles are those of which a member of etcd must have one: none in particular where
// it is not ours.
func etcdRoles(cfg *config.Config) []certs.Role {
	if len(cfg.Etcd.Endpoints) > 0 && !cfg.HasRole(config.RoleEtcd) && len(cfg.Etcd.Embedded.Members) == 0 {
		return nil
	}
	return []certs.Role{certs.RoleMember}
}

// rolesNeeded are the roles of which this host's certificate must have one.
func rolesNeeded(cfg *config.Config) []certs.Role {
	if cfg.HasRole(config.RoleMember) || cfg.HasRole(config.RoleWitness) || cfg.HasRole(config.RoleEtcd) {
		return []certs.Role{certs.RoleMember}
	}
	return []certs.Role{certs.RoleRedirector, certs.RoleMember}
}

// run starts the roles and waits for all of them. When asked ends, the daemon retires,
// and only then they end.
func (d *daemon) run(asked context.Context) error {
	ctx, end := context.WithCancel(context.WithoutCancel(asked))
	defer end()
	group, ctx := errgroup.WithContext(ctx)
	if d.cfg.HasRole(config.RoleMember) || d.cfg.HasRole(config.RoleWitness) {
		if err := d.makeElector(ctx, group); err != nil {
			return err
		}
		defer d.elector.close()
	}
	if d.member != nil {
		defer d.member.close()
	}
	d.watchFigures()
	if d.cfg.API.Listen != "" {
		server, err := d.newServer()
		if err != nil {
			return err
		}
		if err := server.Listen(); err != nil {
			return err
		}
		group.Go(func() error { return server.Run(ctx) })
	}
	if d.cfg.HasRole(config.RoleRedirector) {
		if err := d.startRedirector(asked, ctx, group); err != nil {
			return err
		}
	}
	group.Go(func() error { return d.bus.Run(ctx) })
	group.Go(func() error { return d.preferEtcd(ctx) })
	group.Go(func() error { return d.courier.Run(ctx) })
	group.Go(func() error { return d.observe(ctx) })
	group.Go(func() error { return d.tls.run(ctx) })
	if d.elector != nil && len(d.cfg.Etcd.Endpoints) == 0 {
		group.Go(func() error { return d.protectEtcd(ctx) })
	}
	if d.etcd != nil {
		group.Go(func() error { return d.etcd.run(ctx) })
	}
	group.Go(func() error {
		defer end()
		select {
		case <-asked.Done():
			d.retire(ctx)
		case <-ctx.Done():
		}
		return nil
	})
	d.log.Info("daemon started", "name", d.cfg.Name, "roles", d.cfg.Roles, "version", version)
	err := group.Wait()
	d.log.Info("daemon ends", "error", err)
	return err
}

// makeElector makes and starts what leads: beside a server its member, or else a
// witness.
func (d *daemon) makeElector(ctx context.Context, group *errgroup.Group) (err error) {
	e, err := newElector(d)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if d.cfg.HasRole(config.RoleWitness) {
		w, err := member.NewWitness(d.cfg.DataDir, d.bus, d.log)
		if err != nil {
			return err
		}
		e.prepare(w.RecordSeen)
		e.start(ctx, group, nil)
		group.Go(func() error { return w.Run(ctx) })
		d.elector = e
		return nil
	}
	m, err := newMemberRole(d, e)
	if err != nil {
		return err
	}
	e.prepare(m.member.RecordSeen)
	d.elector, d.member = e, m
	e.start(ctx, group, m.member.ControlProof)
	group.Go(func() error { return m.member.Run(ctx) })
	group.Go(func() error { return d.recent.run(ctx, m) })
	return nil
}

func (d *daemon) newServer() (*api.HTTPServer, error) {
	o := api.Options{Listen: d.cfg.API.Listen, TLS: certs.OptionalClientServerConfig(d.files),
		Backend: &backend{d}, Version: version, Metrics: d.metrics.Handler(), Logger: d.log,
		ReadsNeedRole: d.cfg.API.Reads == config.ReadsRole, Observer: d.metrics.API(), Audit: logs.New(logs.Options(atLeastInfo(d.cfg.Log)), os.Stderr)}
	d.metrics.WatchRefusals(api.Refusals())
	if d.cfg.API.TokensFile != "" {
		o.Tokens = api.OpenTokens(d.cfg.API.TokensFile, func(err error) { d.log.Error("no token is accepted", "error", err) })
	}
	if d.member != nil {
		o.Member = d.member
	}
	server, err := api.NewServer(o)
	if err != nil {
		return nil, err
	}
	d.metrics.WatchPaths(server.Paths())
	return server, nil
}

// startRedirector starts what leads applications; from the end of asked on it drains.
func (d *daemon) startRedirector(asked, ctx context.Context, group *errgroup.Group) error {
	observer := metrics.NewRedirectObserver[redirect.Port, redirect.Cause, redirect.HoldOutcome, redirect.RefuseReason](d.metrics)
	for port, address := range map[redirect.Port]string{redirect.WritePort: d.cfg.Redirect.Write, redirect.ReadPort: d.cfg.Redirect.Read} {
		if address != "" {
			observer.Watch(port, redirect.Causes(), redirect.HoldOutcomes(), redirect.RefuseReasons())
		}
	}
	router := routing.New(routing.Options{Bus: d.bus, Servers: d.addresses, MaxLag: d.cfg.Redirect.MaxLag, Ask: d.ask})
	r, err := redirect.New(router, redirect.Options{
		WriteListen: d.cfg.Redirect.Write, ReadListen: d.cfg.Redirect.Read, Hold: d.cfg.Redirect.Hold, Drain: d.cfg.Redirect.Drain,
		ReadFallback: d.cfg.Redirect.ReadFallback, MaxSessions: d.cfg.Redirect.MaxSessions, Logger: d.log,
		TLSOnly: true, Handshakes: d.cfg.Redirect.Handshakes,
		Observer: observer,
	})
	if err != nil {
		return err
	}
	if err := r.Listen(); err != nil {
		return err
	}
	group.Go(func() error { return router.Run(ctx) })
	serving, stop := context.WithCancel(ctx)
	context.AfterFunc(asked, stop)
	d.drained = make(chan struct{})
	group.Go(func() error {
		defer close(d.drained)
		defer stop()
		return r.Run(serving)
	})
	return nil
}
