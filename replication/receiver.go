package replication

import (
	"context"
	"errors"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

// applySlice is how long one wait for the applier lasts before its health is
// looked at again.
const applySlice = 250 * time.Millisecond

// SetReplicaAcks sets rpl_semi_sync_replica_enabled. It has no effect on a
// receiver that runs: restart it. A receiver that is connecting while it is
// switched off can no longer acknowledge.
func (l *Local) SetReplicaAcks(ctx context.Context, on bool) error {
	return l.exec(ctx, "set rpl_semi_sync_replica_enabled", "SET GLOBAL rpl_semi_sync_replica_enabled = ?", on)
}

// StopReceiver stops the receiver; one that is stopped or has no source is no
// error. It takes milliseconds while the receiver reads, but up to
// replica_net_timeout while it connects to a silent host.
func (l *Local) StopReceiver(ctx context.Context) error {
	err := l.exec(ctx, "stop the receiver", "STOP REPLICA IO_THREAD FOR CHANNEL ''")
	if errors.Is(err, ErrNotConfigured) {
		return nil
	}
	return err
}

// StartReceiver starts the receiver; one that runs is no error. Without a
// source it fails with ErrNotConfigured.
func (l *Local) StartReceiver(ctx context.Context) error {
	return l.exec(ctx, "start the receiver", "START REPLICA IO_THREAD FOR CHANNEL ''")
}

// RestartReceiver stops and starts the receiver, so that SetReplicaAcks takes
// effect.
func (l *Local) RestartReceiver(ctx context.Context) error {
	if err := l.StopReceiver(ctx); err != nil {
		return err
	}
	return l.StartReceiver(ctx)
}

// StartApplier starts the applier; one that runs is no error. Without a source
// it fails with ErrNotConfigured.
func (l *Local) StartApplier(ctx context.Context) error {
	return l.exec(ctx, "start the applier", "START REPLICA SQL_THREAD FOR CHANNEL ''")
}

// ReceiverState returns the state of the receiver, ReceiverOff where there is
// no source.
func (l *Local) ReceiverState(ctx context.Context) (decide.ReceiverState, error) {
	var state string
	err := l.row(ctx, "read the receiver's state", `SELECT COALESCE(MAX(SERVICE_STATE), 'OFF')
		FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME = ''`, nil, &state)
	if err != nil {
		return decide.ReceiverUnknown, err
	}
	return decide.ReceiverState(state), nil
}

// applier is what the steps need to know of the applier.
type applier struct {
	on    bool
	errno int
	text  string
}

func (l *Local) applierState(ctx context.Context) (applier, error) {
	var a applier
	var worst string
	err := l.row(ctx, "read the applier's state", `SELECT
		COALESCE((SELECT SERVICE_STATE = 'ON' FROM performance_schema.replication_applier_status WHERE CHANNEL_NAME = ''), FALSE),
		COALESCE((SELECT MAX(LAST_ERROR_NUMBER) FROM performance_schema.replication_applier_status_by_coordinator WHERE CHANNEL_NAME = ''), 0),
		COALESCE((SELECT MAX(LAST_ERROR_MESSAGE) FROM performance_schema.replication_applier_status_by_coordinator WHERE CHANNEL_NAME = ''), ''),
		COALESCE((SELECT MAX(IF(LAST_ERROR_NUMBER <> 0, CONCAT(LPAD(LAST_ERROR_NUMBER, 10, '0'), LAST_ERROR_MESSAGE), ''))
			FROM performance_schema.replication_applier_status_by_worker WHERE CHANNEL_NAME = ''), '')`,
		nil, &a.on, &a.errno, &a.text, &worst)
	if err == nil && worst != "" {
		a.errno, a.text, err = splitWorkerError(worst)
	}
	return a, err
}

// ensureApplier starts an applier that is off without an error, and returns an
// *ApplierError for one that is off with one.
func (l *Local) ensureApplier(ctx context.Context) error {
	a, err := l.applierState(ctx)
	switch {
	case err != nil:
		return err
	case a.errno != 0:
		return l.wrap("apply", &ApplierError{Server: l.server, Errno: a.errno, Text: a.text})
	case a.on:
		return nil
	}
	return l.StartApplier(ctx)
}

// ApplyWait returns once gtid_executed contains the target. An applier that is
// off without an error is started; one that is broken makes an *ApplierError.
// A target that was never received is waited for until ctx ends.
func (l *Local) ApplyWait(ctx context.Context, target gtid.Set) error {
	const doing = "wait until all is applied"
	text := target.String()
	for slice := 0.0; ; slice = applySlice.Seconds() {
		var timedOut int
		// The first look does not wait: where all is executed, the applier's
		// state is of no interest.
		err := l.row(ctx, doing, "SELECT IF(GTID_SUBSET(?, @@global.gtid_executed), 0, IF(? = 0, 1, WAIT_FOR_EXECUTED_GTID_SET(?, ?)))",
			[]any{text, slice, text, slice}, &timedOut)
		if err != nil {
			return err
		}
		if timedOut == 0 {
			return nil
		}
		if err := l.ensureApplier(ctx); err != nil {
			return err
		}
	}
}

// unapplied returns what was received and is not executed. Executed is read
// first, so the answer is never too small.
func (l *Local) unapplied(ctx context.Context) (gtid.Set, error) {
	h, err := l.Sets(ctx)
	return h.Received.Subtract(h.Executed), err
}

// Sets returns executed and received, read in this order; Held has more.
func (l *Local) Sets(ctx context.Context) (decide.Held, error) {
	var executed, received string
	err := l.row(ctx, "read the sets", `SELECT @@global.gtid_executed, COALESCE((SELECT RECEIVED_TRANSACTION_SET
		FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME = ''), '')`, nil, &executed, &received)
	if err != nil {
		return decide.Held{}, err
	}
	var h decide.Held
	if h.Executed, err = gtid.Parse(executed); err == nil {
		h.Received, err = gtid.Parse(received)
	}
	if err != nil {
		return decide.Held{}, l.wrap("read the sets", err)
	}
	return h, nil
}

// Held returns what the server has of the data, without the start id. Called
// after the receiver has stopped, the answer is final.
func (l *Local) Held(ctx context.Context) (decide.Held, error) {
	h, err := l.Sets(ctx)
	if err != nil {
		return decide.Held{}, err
	}
	var reported string
	var micros int64
	err = l.row(ctx, "read the heartbeat row", `SELECT COALESCE(MAX(executed_set), ''), COALESCE(CAST(MAX(UNIX_TIMESTAMP(at)) * 1000000 AS SIGNED), 0)
		FROM mysqlha.heartbeat WHERE id = 1`, nil, &reported, &micros)
	if n := serverErrno(err); n == errNoSuchTable || n == errNoSuchDatabase {
		return h, nil // Before bootstrap nobody has reported anything.
	}
	if err != nil {
		return decide.Held{}, err
	}
	if h.Reported, err = gtid.Parse(reported); err != nil {
		return decide.Held{}, l.wrap("read the heartbeat row", err)
	}
	if micros > 0 {
		h.ReportedAt = time.UnixMicro(micros).UTC()
	}
	return h, nil
}
