package replication

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const (
	// connectRetry is the pause between two tries to reach the source.
	connectRetry = 1
	// retryCount is 136 years of tries; the default of 9.x gives up after ten.
	retryCount = math.MaxUint32
)

// Source is the server to follow, and how.
type Source struct {
	// Host and Port are where it listens, User and Password the replication
	// account of the server that follows.
	Host     string
	Port     int
	User     string
	Password string
	// CAFile has the authorities that the source's certificate is verified
	// with; the certificate must carry Host. CertFile and KeyFile are a client
	// certificate, empty for none.
	CAFile, CertFile, KeyFile string
	// HeartbeatPeriod is how often an idle source is heard of.
	HeartbeatPeriod time.Duration
	// NetTimeout becomes replica_net_timeout, in whole seconds, unless it is 0.
	NetTimeout time.Duration
}

const heartbeatOption = "SOURCE_HEARTBEAT_PERIOD"

// sourceOption is one option of CHANGE REPLICATION SOURCE TO and its value, as
// the server shows it.
type sourceOption struct {
	name  string
	value any
}

// options are all those that are set and read back.
func (s Source) options() []sourceOption {
	return []sourceOption{
		{"SOURCE_HOST", s.Host},
		{"SOURCE_PORT", s.Port},
		{"SOURCE_USER", s.User},
		{"SOURCE_PASSWORD", s.Password},
		{"SOURCE_SSL", 1},
		{"SOURCE_SSL_VERIFY_SERVER_CERT", 1},
		{"SOURCE_SSL_CA", s.CAFile},
		{"SOURCE_SSL_CERT", s.CertFile},
		{"SOURCE_SSL_KEY", s.KeyFile},
		{heartbeatOption, s.HeartbeatPeriod.Round(time.Millisecond).Seconds()},
		{"SOURCE_CONNECT_RETRY", connectRetry},
		{"SOURCE_RETRY_COUNT", uint64(retryCount)},
		{"GET_SOURCE_PUBLIC_KEY", 0},
	}
}

// Follow makes the server follow a source, without losing anything that was
// received: the receiver is stopped, the applier goes on (and is started where
// it is off), and only what differs is changed. Afterwards the receiver is
// still stopped, so that SetReplicaAcks can be called before StartReceiver; a
// server that never had a source has its applier stopped too.
//
// It fails with ErrUnapplied where changing the source would purge a relay log
// with transactions that are not applied, and with ErrNotAsAsked where the
// server shows something else than was asked.
func (l *Local) Follow(ctx context.Context, s Source) error {
	if err := l.StopReceiver(ctx); err != nil {
		return err
	}
	if err := l.setNetTimeout(ctx, s.NetTimeout); err != nil {
		return err
	}
	have, err := l.sourceConfiguration(ctx)
	switch {
	case errors.Is(err, ErrNotConfigured):
		err = l.changeSource(ctx, append(s.options(), sourceOption{"SOURCE_AUTO_POSITION", 1}))
	case err == nil:
		err = l.repoint(ctx, have, s)
	}
	if err != nil {
		return err
	}
	have, err = l.sourceConfiguration(ctx)
	if err != nil {
		return err
	}
	if diff := have.differs(s); len(diff) > 0 || !have.autoPosition {
		return l.wrap("follow "+s.Host, fmt.Errorf("%w: %s", ErrNotAsAsked, names(diff)))
	}
	return nil
}

func (l *Local) setNetTimeout(ctx context.Context, d time.Duration) error {
	seconds := int(d / time.Second)
	if seconds == 0 {
		return nil
	}
	const doing = "set replica_net_timeout"
	var have int
	if err := l.row(ctx, doing, "SELECT @@global.replica_net_timeout", nil, &have); err != nil || have == seconds {
		return err
	}
	return l.exec(ctx, doing, "SET GLOBAL replica_net_timeout = ?", seconds)
}

// repoint changes what differs on a configured channel. MySQL purges the relay
// log on a change with both threads stopped, so the applier has to run; it may
// still break between the look and the change, so the sets are compared.
func (l *Local) repoint(ctx context.Context, have sourceConfiguration, s Source) error {
	change := have.differs(s)
	if !have.autoPosition {
		// Such a channel was made by somebody else, and this change needs both
		// threads stopped.
		if err := l.stopIdleApplier(ctx); err != nil {
			return err
		}
		return l.changeSource(ctx, append(withHeartbeat(change, s), sourceOption{"SOURCE_AUTO_POSITION", 1}))
	}
	if len(change) == 0 {
		return nil
	}
	change = withHeartbeat(change, s)
	before, err := l.Sets(ctx)
	if err != nil {
		return err
	}
	if err := l.ensureApplier(ctx); err != nil {
		if !before.Received.Subtract(before.Executed).IsEmpty() {
			return fmt.Errorf("%w: %w", ErrUnapplied, err)
		}
		if !errors.Is(err, ErrApplierBroken) {
			return err
		}
	}
	if err := l.changeSource(ctx, change); err != nil {
		return err
	}
	after, err := l.Sets(ctx)
	if err != nil {
		return err
	}
	if lost := before.All().Subtract(after.All()); !lost.IsEmpty() {
		return l.wrap("follow "+s.Host, fmt.Errorf("%w: the relay log was purged with %s in it", ErrUnapplied, lost))
	}
	return nil
}

// withHeartbeat adds the heartbeat period: a change of host or port sets it
// back to half of replica_net_timeout unless it is in the same statement.
func withHeartbeat(change []sourceOption, s Source) []sourceOption {
	for _, o := range s.options() {
		if o.name == heartbeatOption && !slices.Contains(change, o) {
			return append(change, o)
		}
	}
	return change
}

// stopIdleApplier stops the applier unless it has something to apply.
func (l *Local) stopIdleApplier(ctx context.Context) error {
	rest, err := l.unapplied(ctx)
	if err != nil {
		return err
	}
	if !rest.IsEmpty() {
		return l.wrap("stop the applier", fmt.Errorf("%w: %s", ErrUnapplied, rest))
	}
	return l.exec(ctx, "stop the applier", "STOP REPLICA SQL_THREAD FOR CHANNEL ''")
}

func (l *Local) changeSource(ctx context.Context, options []sourceOption) error {
	args := make([]any, len(options))
	list := make([]string, len(options))
	for i, o := range options {
		list[i], args[i] = o.name+" = ?", o.value
	}
	query := "CHANGE REPLICATION SOURCE TO " + strings.Join(list, ", ") + " FOR CHANNEL ''"
	return l.exec(ctx, "change the source ("+names(options)+")", query, args...)
}

// names lists options without their values, one of which is a password.
func names(options []sourceOption) string {
	list := make([]string, len(options))
	for i, o := range options {
		list[i] = o.name
	}
	return strings.Join(list, ", ")
}

// sourceConfiguration is how the default channel is configured.
type sourceConfiguration struct {
	options      []sourceOption
	autoPosition bool
}

// differs returns those options of the source that are not as it asks.
func (c sourceConfiguration) differs(s Source) []sourceOption {
	var diff []sourceOption
	for i, want := range s.options() {
		if c.options[i] != want {
			diff = append(diff, want)
		}
	}
	return diff
}

// sourceConfiguration reads the default channel back; ErrNotConfigured where
// there is none. The password stands in the server's own table only.
func (l *Local) sourceConfiguration(ctx context.Context) (sourceConfiguration, error) {
	const doing = "read the source's configuration"
	var s Source
	var tls, verify, publicKey, retry int
	var count uint64
	var heartbeat float64
	var c sourceConfiguration
	err := l.row(ctx, doing, `SELECT c.HOST, c.PORT, c.USER, COALESCE(m.User_password, ''),
		c.SSL_ALLOWED = 'YES', c.SSL_VERIFY_SERVER_CERTIFICATE = 'YES',
		c.SSL_CA_FILE, c.SSL_CERTIFICATE, c.SSL_KEY, c.HEARTBEAT_INTERVAL,
		c.CONNECTION_RETRY_INTERVAL, c.CONNECTION_RETRY_COUNT, c.GET_PUBLIC_KEY = 'YES', c.AUTO_POSITION = '1'
		FROM performance_schema.replication_connection_configuration AS c
		LEFT JOIN mysql.slave_master_info AS m ON m.Channel_name = c.CHANNEL_NAME
		WHERE c.CHANNEL_NAME = ''`, nil,
		&s.Host, &s.Port, &s.User, &s.Password, &tls, &verify, &s.CAFile, &s.CertFile, &s.KeyFile,
		&heartbeat, &retry, &count, &publicKey, &c.autoPosition)
	if errors.Is(err, sql.ErrNoRows) {
		return c, l.wrap(doing, ErrNotConfigured)
	}
	if err != nil {
		return c, err
	}
	s.HeartbeatPeriod = time.Duration(heartbeat * float64(time.Second)).Round(time.Millisecond)
	c.options = s.options()
	for i, o := range c.options { // Those that Source does not carry.
		switch o.name {
		case "SOURCE_SSL":
			c.options[i].value = tls
		case "SOURCE_SSL_VERIFY_SERVER_CERT":
			c.options[i].value = verify
		case "SOURCE_CONNECT_RETRY":
			c.options[i].value = retry
		case "SOURCE_RETRY_COUNT":
			c.options[i].value = count
		case "GET_SOURCE_PUBLIC_KEY":
			c.options[i].value = publicKey
		}
	}
	return c, nil
}

// stopDeadline is how long a STOP REPLICA may take before the coordinator is
// killed: it waits a minute for the rest of a transaction that ends in the
// middle of the relay log.
const (
	stopDeadline = 2 * time.Second
	stopPoll     = 20 * time.Millisecond
	// killAgain is how long a killed coordinator may take to end.
	killAgain = time.Second
)

// ResetReplica takes the server out of replication: both threads end and the
// source is forgotten. It fails with ErrUnapplied where something was received
// that is not executed. A transaction that was received in part is dropped.
func (l *Local) ResetReplica(ctx context.Context) error {
	_, err := l.sourceConfiguration(ctx)
	if errors.Is(err, ErrNotConfigured) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := l.StopReceiver(ctx); err != nil {
		return err
	}
	rest, err := l.unapplied(ctx)
	if err != nil {
		return err
	}
	if !rest.IsEmpty() {
		return l.wrap("reset replication", fmt.Errorf("%w: %s", ErrUnapplied, rest))
	}
	if err := l.stopApplier(ctx); err != nil {
		return err
	}
	return l.exec(ctx, "reset replication", "RESET REPLICA ALL FOR CHANNEL ''")
}

// stopApplier stops the applier, by force where it does not stop.
func (l *Local) stopApplier(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, stopDeadline)
	defer cancel()
	err := l.exec(short, "stop the applier", "STOP REPLICA SQL_THREAD FOR CHANNEL ''")
	if err == nil || ctx.Err() != nil || short.Err() == nil {
		return err
	}
	// The STOP goes on inside the server; without its coordinator it ends. One kill
	// may come at a moment at which it is missed.
	var killed time.Time
	return poll(ctx, stopPoll, func() (bool, error) {
		a, err := l.applierState(ctx)
		if err == nil && a.on && time.Since(killed) > killAgain {
			killed, err = time.Now(), l.killCoordinator(ctx)
		}
		return !a.on, err
	})
}

func (l *Local) killCoordinator(ctx context.Context) error {
	const doing = "find the applier's coordinator"
	var id int64
	err := l.row(ctx, doing, `SELECT t.PROCESSLIST_ID FROM performance_schema.threads AS t
		JOIN performance_schema.replication_applier_status_by_coordinator AS c USING (THREAD_ID)
		WHERE c.CHANNEL_NAME = ''`, nil, &id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // It ended by itself.
	}
	if err != nil {
		return err
	}
	return l.KillSession(ctx, id)
}

// poll asks until the answer is yes, an error, or ctx ends.
func poll(ctx context.Context, every time.Duration, ask func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if done, err := ask(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// receiving reports whether the receiver is anything but stopped.
func (l *Local) receiving(ctx context.Context) (bool, error) {
	state, err := l.ReceiverState(ctx)
	return state != decide.ReceiverOff, err
}
