package replication

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

// NeverHeard is the ContactAge of a receiver that never heard from its source.
const NeverHeard = time.Duration(math.MaxInt64)

// Snapshot is the state of one server, read within a few milliseconds.
type Snapshot struct {
	// ServerUUID, ServerID and Version name the server.
	ServerUUID string
	ServerID   uint32
	Version    string
	// ReadOnly, SuperReadOnly and OfflineMode are the variables.
	ReadOnly      bool
	SuperReadOnly bool
	OfflineMode   bool
	// Executed is gtid_executed.
	Executed gtid.Set

	// Configured says whether the default channel has a source; where it has
	// none, the states below are OFF and the rest is empty.
	Configured bool
	// SourceHost, SourcePort and SourceUser are how it reaches the source,
	// SourceUUID is who answered there, empty before the first contact.
	SourceHost string
	SourcePort int
	SourceUser string
	SourceUUID string
	// Receiver and Applier are the states of the threads. The applier is ON
	// only while it has no error.
	Receiver decide.ReceiverState
	Applier  decide.ReceiverState
	// Received is what the receiver has fetched completely since the channel
	// was last configured anew, applied or not. It is read after Executed, so
	// Received without Executed is never too small.
	Received gtid.Set
	// ReceiverErrno and ApplierErrno are MySQL's error numbers, 0 for none.
	// A worker's error comes before the coordinator's, which only repeats it.
	ReceiverErrno int
	ReceiverError string
	ApplierErrno  int
	ApplierError  string
	// ContactAge is how long ago the receiver last got anything from the
	// source, by the server's clock; NeverHeard when it never did.
	ContactAge time.Duration
	// Lag is how long ago the transaction that is being applied, else the last
	// one applied, was committed at the primary, and 0 when all that was
	// received is executed. Unless LagKnown it says nothing: a receiver that is
	// not ON cannot know what it misses.
	Lag      time.Duration
	LagKnown bool
	// Delay is SOURCE_DELAY: by how much the applier is late on purpose.
	Delay time.Duration
	// LagTransactions counts what was received and is not executed.
	LagTransactions uint64
	// OtherChannels are the names of channels that are not the default one:
	// replication that the project knows nothing of.
	OtherChannels []string
	// SemiSync is the state of semi-synchronous replication.
	SemiSync SemiSync
}

// SemiSync is the state of a server's semi-synchronous replication.
type SemiSync struct {
	// SourceInstalled and ReplicaInstalled say that the plugins are loaded.
	SourceInstalled  bool
	ReplicaInstalled bool
	// SourceEnabled and ReplicaEnabled are the variables.
	SourceEnabled  bool
	ReplicaEnabled bool
	// SourceStatus says that commits wait for acknowledgements. Enabled and
	// without it, the server has given up waiting: a fault.
	SourceStatus bool
	// Lossless says that a commit waits before it is visible, for ever, and also
	// where no replica is attached.
	Lossless bool
	// RequiredAcks is rpl_semi_sync_source_wait_for_replica_count.
	RequiredAcks int
	// Clients counts the attached semi-sync replicas, WaitSessions the
	// sessions whose commit waits for an acknowledgement.
	Clients      int
	WaitSessions int
	// ReplicaStatus says that the running receiver acknowledges.
	ReplicaStatus bool
}

// statusColumns turns the rows of global_status into one.
const statusColumns = `(SELECT
	MAX(IF(VARIABLE_NAME = 'Rpl_semi_sync_source_status', VARIABLE_VALUE, NULL)) AS source_status,
	MAX(IF(VARIABLE_NAME = 'Rpl_semi_sync_source_clients', VARIABLE_VALUE, NULL)) AS clients,
	MAX(IF(VARIABLE_NAME = 'Rpl_semi_sync_source_wait_sessions', VARIABLE_VALUE, NULL)) AS wait_sessions,
	MAX(IF(VARIABLE_NAME = 'Rpl_semi_sync_replica_status', VARIABLE_VALUE, NULL)) AS replica_status
	FROM performance_schema.global_status WHERE VARIABLE_NAME IN (
		'Rpl_semi_sync_source_status', 'Rpl_semi_sync_source_clients',
		'Rpl_semi_sync_source_wait_sessions', 'Rpl_semi_sync_replica_status')) AS s`

const serverColumns = `SELECT @@global.server_uuid, @@global.server_id, @@global.version,
	@@global.read_only, @@global.super_read_only, @@global.offline_mode, @@global.gtid_executed,
	s.source_status, s.clients, s.wait_sessions, s.replica_status, `

// queryServer reads the server in about half a millisecond. The variables of a plugin that is not
// loaded make it fail; then queryServerParts reads them, in 2 ms.
const (
	queryServer = serverColumns + `@@global.rpl_semi_sync_source_enabled,
	@@global.rpl_semi_sync_replica_enabled, @@global.rpl_semi_sync_source_wait_for_replica_count,
	@@global.rpl_semi_sync_source_wait_point = 'AFTER_SYNC' AND @@global.rpl_semi_sync_source_wait_no_replica
		AND @@global.rpl_semi_sync_source_timeout >= ` + leastTimeout + ` FROM ` + statusColumns
	queryServerParts = serverColumns + `
	(SELECT VARIABLE_VALUE = 'ON' FROM performance_schema.global_variables WHERE VARIABLE_NAME = 'rpl_semi_sync_source_enabled'),
	(SELECT VARIABLE_VALUE = 'ON' FROM performance_schema.global_variables WHERE VARIABLE_NAME = 'rpl_semi_sync_replica_enabled'),
	(SELECT VARIABLE_VALUE FROM performance_schema.global_variables WHERE VARIABLE_NAME = 'rpl_semi_sync_source_wait_for_replica_count'), FALSE
	FROM ` + statusColumns
)

// Read returns the state of the server. It costs two statements and under 2 ms.
func (l *Local) Read(ctx context.Context) (Snapshot, error) {
	const doing = "read the state"
	var s Snapshot
	err := s.readServer(l.db.QueryRowContext(ctx, queryServer))
	if serverErrno(err) == errUnknownVariable {
		err = s.readServer(l.db.QueryRowContext(ctx, queryServerParts))
	}
	if err != nil {
		return Snapshot{}, l.wrap(doing, err)
	}
	if err := l.readChannels(ctx, &s); err != nil {
		return Snapshot{}, l.wrap(doing, err)
	}
	return s, nil
}

func (s *Snapshot) readServer(row *sql.Row) error {
	var executed string
	var sourceStatus, replicaStatus sql.NullString
	var clients, waiting, required sql.NullInt64
	var source, replica, lossless sql.NullBool
	err := row.Scan(&s.ServerUUID, &s.ServerID, &s.Version,
		&s.ReadOnly, &s.SuperReadOnly, &s.OfflineMode, &executed,
		&sourceStatus, &clients, &waiting, &replicaStatus, &source, &replica, &required, &lossless)
	if err != nil {
		return err
	}
	s.SemiSync = SemiSync{
		SourceInstalled: source.Valid, ReplicaInstalled: replica.Valid,
		SourceEnabled: source.Bool, ReplicaEnabled: replica.Bool,
		Lossless: lossless.Bool, SourceStatus: sourceStatus.String == "ON", ReplicaStatus: replicaStatus.String == "ON",
		RequiredAcks: int(required.Int64), Clients: int(clients.Int64), WaitSessions: int(waiting.Int64),
	}
	s.Executed, err = gtid.Parse(executed)
	return err
}

// queryChannels has one row for each channel. Timestamps that were never set
// are zero dates, of which TIMESTAMPDIFF makes NULL. A number of 10 digits in
// front of the workers' messages lets MAX choose an error with its own text.
const queryChannels = `SELECT c.CHANNEL_NAME, c.HOST, c.PORT, c.USER,
	COALESCE(r.SOURCE_UUID, ''), COALESCE(r.SERVICE_STATE, 'OFF'), COALESCE(r.RECEIVED_TRANSACTION_SET, ''),
	COALESCE(r.LAST_ERROR_NUMBER, 0), COALESCE(r.LAST_ERROR_MESSAGE, ''),
	TIMESTAMPDIFF(MICROSECOND, GREATEST(r.LAST_HEARTBEAT_TIMESTAMP,
		r.LAST_QUEUED_TRANSACTION_END_QUEUE_TIMESTAMP, r.QUEUEING_TRANSACTION_START_QUEUE_TIMESTAMP), NOW(6)),
	COALESCE(a.SERVICE_STATE, 'OFF'), COALESCE(o.LAST_ERROR_NUMBER, 0), COALESCE(o.LAST_ERROR_MESSAGE, ''),
	COALESCE(w.worst, ''), COALESCE(d.DESIRED_DELAY, 0),
	TIMESTAMPDIFF(MICROSECOND, w.applying, NOW(6)), TIMESTAMPDIFF(MICROSECOND, w.applied, NOW(6))
	FROM performance_schema.replication_connection_configuration AS c
	LEFT JOIN performance_schema.replication_connection_status AS r USING (CHANNEL_NAME)
	LEFT JOIN performance_schema.replication_applier_status AS a USING (CHANNEL_NAME)
	LEFT JOIN performance_schema.replication_applier_configuration AS d USING (CHANNEL_NAME)
	LEFT JOIN performance_schema.replication_applier_status_by_coordinator AS o USING (CHANNEL_NAME)
	LEFT JOIN (SELECT CHANNEL_NAME,
		MAX(IF(LAST_ERROR_NUMBER <> 0, CONCAT(LPAD(LAST_ERROR_NUMBER, 10, '0'), LAST_ERROR_MESSAGE), '')) AS worst,
		MIN(IF(APPLYING_TRANSACTION <> '', APPLYING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP, NULL)) AS applying,
		MAX(LAST_APPLIED_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP) AS applied
		FROM performance_schema.replication_applier_status_by_worker GROUP BY CHANNEL_NAME) AS w USING (CHANNEL_NAME)`

// channel is one row of queryChannels.
type channel struct {
	name, host               string
	port                     int
	user, uuid               string
	receiver, received       string
	receiverErrno            int
	receiverError            string
	contact                  sql.NullInt64
	applier                  string
	coordinatorErrno         int
	coordinatorError, worker string
	delay                    int64 // in seconds
	applying, applied        sql.NullInt64
}

func (l *Local) readChannels(ctx context.Context, s *Snapshot) error {
	s.Receiver, s.Applier, s.ContactAge = decide.ReceiverOff, decide.ReceiverOff, NeverHeard
	rows, err := l.db.QueryContext(ctx, queryChannels)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var c channel
		err := rows.Scan(&c.name, &c.host, &c.port, &c.user, &c.uuid, &c.receiver, &c.received,
			&c.receiverErrno, &c.receiverError, &c.contact, &c.applier,
			&c.coordinatorErrno, &c.coordinatorError, &c.worker, &c.delay, &c.applying, &c.applied)
		if err != nil {
			return err
		}
		if c.name != "" {
			s.OtherChannels = append(s.OtherChannels, c.name)
			continue
		}
		if err := s.setChannel(c); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (s *Snapshot) setChannel(c channel) error {
	received, err := gtid.Parse(c.received)
	if err != nil {
		return err
	}
	s.Configured = true
	s.SourceHost, s.SourcePort, s.SourceUser, s.SourceUUID = c.host, c.port, c.user, c.uuid
	s.Receiver, s.Received = decide.ReceiverState(c.receiver), received
	s.ReceiverErrno, s.ReceiverError = c.receiverErrno, c.receiverError
	s.Delay = time.Duration(c.delay) * time.Second
	s.ApplierErrno, s.ApplierError = c.coordinatorErrno, c.coordinatorError
	if c.worker != "" {
		if s.ApplierErrno, s.ApplierError, err = splitWorkerError(c.worker); err != nil {
			return err
		}
	}
	if c.applier == "ON" && s.ApplierErrno == 0 {
		s.Applier = decide.ReceiverOn
	}
	if c.contact.Valid {
		s.ContactAge = microseconds(c.contact.Int64)
	}
	s.setLag(c)
	return nil
}

func (s *Snapshot) setLag(c channel) {
	unapplied := s.Received.Subtract(s.Executed)
	s.LagTransactions = unapplied.Count()
	if s.Receiver != decide.ReceiverOn {
		return
	}
	switch {
	case unapplied.IsEmpty():
		s.LagKnown = true
	case c.applying.Valid:
		s.Lag, s.LagKnown = microseconds(c.applying.Int64), true
	case c.applied.Valid:
		s.Lag, s.LagKnown = microseconds(c.applied.Int64), true
	}
}

// splitWorkerError undoes what queryChannels puts together.
func splitWorkerError(worst string) (int, string, error) {
	const digits = 10
	if len(worst) < digits {
		return 0, "", fmt.Errorf("read a worker's error from %q", worst)
	}
	n, err := strconv.Atoi(strings.TrimLeft(worst[:digits], "0"))
	if err != nil {
		return 0, "", fmt.Errorf("read a worker's error number: %w", err)
	}
	return n, worst[digits:], nil
}

// microseconds returns an age; a clock that was set back makes none negative.
func microseconds(n int64) time.Duration {
	return max(0, time.Duration(n)*time.Microsecond)
}
