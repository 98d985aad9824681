package member

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
	"github.com/mysqlha/mysqlha/replication/process"
)

// Board is the member's view of etcd.
type Board interface {
	// Own returns this server's newest spec and the record, as far as they
	// have arrived here; Changed is closed at the next change of either.
	Own() (decide.SpecAt, *decide.Record)
	Changed() <-chan struct{}
	// ReadRecord reads the record linearizably.
	ReadRecord(ctx context.Context) (*decide.Record, error)
	// PutStatus writes this server's status.
	PutStatus(ctx context.Context, s decide.Status) error
}

// Address says where the mysqld of another server is and how to know it.
type Address struct {
	// Host and Port are what a receiver dials.
	Host string
	Port int
}

// Options are all that a member needs.
type Options struct {
	// Server is this server's name.
	Server string
	// Local is the control connection to its mysqld.
	Local *replication.Local
	// RunFile is where the gate says which process mysqld is.
	RunFile string
	// ProofFile is where the gate reads when this server was last proven current
	// (S9).
	ProofFile string
	// ClosedFile is where the gate says that it closed this server.
	ClosedFile string
	// ServerDataDir is mysqld's data directory.
	ServerDataDir string
	// RewindFile is where the gate notes what it cut off this server's binary log;
	// empty for a server without that.
	RewindFile string
	// CloneFile is where the daemon notes for itself and the gate that this server
	// is being cloned.
	CloneFile string
	// LetGoFile is where the gate notes that mysqld was stopped past it.
	LetGoFile string
	// DataDir is the daemon's own folder: the term file is in it.
	DataDir string
	// Board is etcd.
	Board Board
	// Servers returns the addresses of all servers by name.
	Servers func() map[string]Address
	// Executed reads the gtid_executed of another server over TLS.
	Executed ExecutedFunc
	// Replication is the account of this server on all others and the files
	// its receiver's TLS needs.
	Replication Replication
	// Timings, all in force as given.
	ProbeInterval, HeartbeatRow, Detection, FenceDeadline time.Duration
	// Logger takes the member's log.
	Logger *slog.Logger
	// Events is told what happens, for metrics; nil for nobody.
	Events Events
}

// Replication is how this server's receiver logs in at a source.
type Replication struct {
	User, CAFile string
	// Password is that of the moment.
	Password func() string
	// Certificate is what the server shows to its source, empty where it has nothing that
	// it could; known says whether that has been read since the daemon began.
	Certificate                 func() (c replication.TLSFiles, known bool)
	SourceHeartbeat, NetTimeout time.Duration
}

// ExecutedFunc reads the gtid_executed of another server.
type ExecutedFunc = func(ctx context.Context, server string) (Set, error)

// Events are what metrics want to know of a member.
type Events interface {
	// Fenced is told that the server was closed, for which of the causes, how long
	// it took from the decision until it was proven not writable, and how long from
	// the last proof that its term was current.
	Fenced(cause string, took, sinceProof time.Duration)
	// Rejoined is told in which of the ways the server was let come back with the
	// primary's data, Cloned how long a clone took.
	Rejoined(way string)
	Cloned(took time.Duration)
	// Interrupted is told that writes may have gone without an answer, for which of the
	// causes, from the last acknowledged heartbeat, whose time is its primary's, until
	// this server took writes again.
	Interrupted(cause string, since, until time.Time)
	// SessionsCut is told how many clients' sessions were ended, for which of the causes.
	SessionsCut(cause string, sessions int)
}

// Member is the daemon beside one mysqld.
type Member struct {
	o     Options
	log   *slog.Logger
	terms *termFile

	inbox  chan func(*state) // values for the loop, as what to do with them
	live   atomic.Pointer[liveAt]
	status statusSlot
	kick   chan struct{}
	// committed is when the last acknowledged own commit was begun, and pending
	// since when one waits; for the poller.
	committed, pending atomic.Pointer[time.Time]
	// cloning is how far a clone under way is, disk how full the disk; nil for none
	// and for unknown.
	cloning atomic.Pointer[decide.CloneProgress]
	disk    atomic.Pointer[decide.Disk]
	// unusable says why the data is not what its GTIDs say, empty where it is.
	unusable atomic.Pointer[decide.Code]
	// locked is how the accounts were locked last.
	locked atomic.Pointer[lockedAs]
	// letGo is the run of mysqld that was stopped past its gate last.
	letGo atomic.Pointer[string]
	// notesMu keeps an older look at the notes from replacing a newer one.
	notesMu sync.Mutex
	// notices are what a human should know of the server and that keeps it from
	// nothing.
	notices atomic.Pointer[[]decide.Finding]
	// attachedWith is how the receiver logs in at its source, nil while that is not
	// known.
	attachedWith atomic.Pointer[login]
	// receivedWith is how it logged in when it was last seen to receive.
	receivedWith atomic.Pointer[login]
	// rewindAt is of the rewind that was counted last, or when this daemon began;
	// the poller's.
	rewindAt time.Time
	// rooms counts how often max_connections was raised, roomAt is when last;
	// the poller's.
	rooms  int
	roomAt time.Time
}

// The bounds of raising max_connections.
const (
	mostRooms = 4
	roomPause = 2 * time.Second
)

// New prepares a member; Run starts it.
func New(o Options) (*Member, error) {
	terms, err := openTermFile(o.DataDir)
	if err != nil {
		return nil, err
	}
	m := &Member{o: o, log: o.Logger.With("server", o.Server), terms: terms, rewindAt: time.Now(),
		inbox: make(chan func(*state), 64), kick: make(chan struct{}, 1)}
	m.status.changed = make(chan struct{}, 1)
	return m, nil
}

// Run works until ctx ends, and returns after all its goroutines have. The
// server is left as it is: the cluster goes on serving without its daemon.
func (m *Member) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		process.Watch(ctx, m.o.RunFile, 10*time.Millisecond, func(p process.State) {
			m.send(ctx, func(s *state) { s.processChanged(p) })
		})
	})
	wg.Go(func() { m.poll(ctx) })
	wg.Go(func() { m.publish(ctx) })
	wg.Go(func() { m.watchDisk(ctx) })
	wg.Go(func() { m.watchAccounts(ctx) })
	s := newState(ctx, m)
	defer s.stop()
	return s.loop(ctx)
}

// send hands something to the loop, unless ctx ends first.
func (m *Member) send(ctx context.Context, f func(*state)) {
	select {
	case m.inbox <- f:
	case <-ctx.Done():
	}
}

// ControlProof takes a record that was read linearizably after a renewal of
// the member's lease was sent at sentAt, and that renewal succeeded: together
// they prove that no later term was open at sentAt (S9). It does not block.
func (m *Member) ControlProof(r decide.Record, sentAt time.Time) {
	select {
	case m.inbox <- func(s *state) { s.controlProof(r, sentAt) }:
	default: // The loop is busy; the next renewal proves as well.
	}
}

// poll reads the server's state every probe interval, and at once when kicked.
func (m *Member) poll(ctx context.Context) {
	tick := time.NewTicker(m.o.ProbeInterval)
	defer tick.Stop()
	for {
		m.countGate()
		m.countRewind(m.lookAtNotes())
		p := m.look(ctx)
		m.send(ctx, func(s *state) { s.polled(p) })
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-m.kick:
		}
	}
}

// polled is what one look at the server has shown.
type polled struct {
	snap replication.Snapshot
	err  error
	// at is a moment before it was read; committed is when the last own commit
	// was begun that had been acknowledged by then.
	at        time.Time
	committed time.Time
	// locked says that a pending commit waits for somebody's lock.
	locked bool
	// heartbeat is how old the newest heartbeat row is, at a replica.
	heartbeat      time.Duration
	heartbeatKnown bool
}

// countGate counts a fence by the gate, which has no metrics of its own.
func (m *Member) countGate() {
	c, err := process.TakeClosed(m.o.ClosedFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		m.log.Warn("the metrics lack a fence by the gate", "error", err)
	default:
		m.log.Warn("the gate closed this server", "run", c.StartID, "took", c.Took, "since_proof", c.SinceProof)
		if m.o.Events != nil {
			m.o.Events.Fenced(CauseGate, c.Took, c.SinceProof)
		}
	}
}

func (m *Member) look(ctx context.Context) polled {
	ctx, cancel := context.WithTimeout(ctx, max(m.o.Detection, time.Second))
	defer cancel()
	p := polled{at: time.Now()}
	if t := m.committed.Load(); t != nil {
		p.committed = *t
	}
	p.snap, p.err = m.o.Local.Read(ctx)
	if since := m.pending.Load(); p.err == nil && since != nil && !since.IsZero() && time.Since(*since) > m.o.Detection {
		p.locked = m.whyPending(ctx, p.snap)
	}
	if p.err == nil && p.snap.Configured {
		p.heartbeat, p.heartbeatKnown = m.heartbeatAge(ctx)
	}
	return p
}

// heartbeatPatience bounds the look at the heartbeat row, which somebody may
// have locked: nobody else must wait for it.
const heartbeatPatience = 200 * time.Millisecond

func (m *Member) heartbeatAge(ctx context.Context) (time.Duration, bool) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatPatience)
	defer cancel()
	age, known, err := m.o.Local.HeartbeatAge(ctx)
	return age, known && err == nil // Unknown is not fresh.
}

// whyPending looks what an own commit may be waiting for: somebody's lock, or
// replicas that find no connection left.
func (m *Member) whyPending(ctx context.Context, snap replication.Snapshot) (locked bool) {
	locked, err := m.o.Local.CommitLocked(ctx)
	if err != nil {
		m.log.Warn("what the commit waits for is not known", "error", err)
		return true // Unknown is not the disk.
	}
	if snap.SemiSync.Clients >= snap.SemiSync.RequiredAcks {
		return locked
	}
	if m.rooms >= mostRooms || time.Since(m.roomAt) < roomPause {
		return locked
	}
	switch more, err := m.o.Local.MakeRoom(ctx); {
	case err != nil:
		m.log.Warn("no room could be made for replicas", "error", err)
	case more:
		m.rooms, m.roomAt = m.rooms+1, time.Now()
		m.log.Warn("max_connections raised: all connections were taken, and replicas could not attach")
	}
	return locked
}

// Cluster returns the ID of the cluster that the server belongs to, or belonged to
// last; empty for none.
func (m *Member) Cluster() string { return m.terms.now().Cluster }

// RecordSeen returns the highest version of the record ever seen here.
func (m *Member) RecordSeen() uint64 { return m.terms.now().RecordSeen }

// Live returns the server's running figures.
func (m *Member) Live() decide.Live {
	l := m.live.Load()
	if l == nil {
		return decide.Live{Server: m.o.Server}
	}
	out := l.Live
	out.Age = time.Since(l.read)
	if !l.commitBegun.IsZero() {
		out.CommitAge = time.Since(l.commitBegun)
	} else {
		out.CommitAge = never
	}
	if !l.pendingSince.IsZero() {
		out.CommitPending = time.Since(l.pendingSince)
	}
	if out.CommitKnown = !l.commitRead.IsZero() && out.OpenTerm != 0; out.CommitKnown {
		out.CommitReadAge = time.Since(l.commitRead)
	}
	out.RecordSeen = m.RecordSeen()
	return out
}

// never is an age that counts as no proof at all.
const never = time.Duration(1<<62 - 1)

type liveAt struct {
	decide.Live
	read, commitBegun, pendingSince, commitRead time.Time
}

// statusSlot holds the newest status for the publisher.
type statusSlot struct {
	mu      sync.Mutex
	newest  decide.Status
	changed chan struct{}
}

func (s *statusSlot) set(st decide.Status) {
	s.mu.Lock()
	s.newest = st
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *statusSlot) get() decide.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest
}

// publish writes the newest status whenever it has changed, again and again
// until etcd has it.
func (m *Member) publish(ctx context.Context) {
	retry := time.NewTimer(0)
	retry.Stop()
	defer retry.Stop()
	told := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.status.changed:
		case <-retry.C:
		}
		st := m.status.get()
		err := m.o.Board.PutStatus(ctx, st)
		if err == nil || ctx.Err() != nil {
			told = false
			continue
		}
		if !told {
			told = true
			m.log.Warn("status not written, will be tried again", "error", err)
		}
		retry.Reset(200 * time.Millisecond)
	}
}

func (m *Member) address(server string) (Address, error) {
	a, ok := m.o.Servers()[server]
	if !ok {
		return a, fmt.Errorf("%s knows no server %q", m.o.Server, server)
	}
	return a, nil
}
