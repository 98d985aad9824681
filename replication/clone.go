package replication

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// Donor is where a clone comes from.
type Donor struct {
	// Host and Port are its mysqld, User and Password the account there.
	Host     string
	Port     int
	User     string
	Password string
	// CAFile verifies its certificate. CertFile and KeyFile are shown to it, empty for
	// none.
	CAFile, CertFile, KeyFile string
}

// CloneState is what a server says of the last clone that it received.
type CloneState struct {
	// Begun tells one clone from the next: when it began, in the server's words;
	// empty for none. The server keeps it across restarts.
	Begun string
	// Completed says that it ended well, after the restart that belongs to it.
	Completed bool
	// Problem is the server's error, empty for none.
	Problem string
}

// Clone makes this server a copy of the donor, over TLS. The server must be
// closed and out of replication. All that it holds is replaced, the accounts too,
// and at the end mysqld restarts: that ends the connection, so an error is usual
// and CloneState tells, in the next run, what came of it. When ctx ends first the
// clone is ended.
func (l *Local) Clone(ctx context.Context, d Donor) error {
	if err := l.closed(ctx); err != nil {
		return l.wrap("clone", err)
	}
	if err := l.StopReplication(ctx); err != nil {
		return err
	}
	at := net.JoinHostPort(d.Host, strconv.Itoa(d.Port))
	for name, value := range map[string]string{"clone_valid_donor_list": at, "clone_ssl_ca": d.CAFile, "clone_ssl_cert": d.CertFile, "clone_ssl_key": d.KeyFile} {
		if err := l.exec(ctx, "prepare to clone", "SET GLOBAL "+name+" = ?", value); err != nil {
			return err
		}
	}
	// Under super_read_only the old data cannot be dropped; read_only stays.
	if err := l.exec(ctx, "prepare to clone", "SET GLOBAL super_read_only = OFF"); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeDeadline)
		defer cancel()
		_ = l.SetSuperReadOnly(ctx) // It fails where mysqld restarts, closed.
	}()
	// The password stands in the statement, which no log of the server shows.
	return l.execOrKill(ctx, "clone from "+at, "CLONE INSTANCE FROM ?@?:"+strconv.Itoa(d.Port)+" IDENTIFIED BY ? REQUIRE SSL", d.User, d.Host, d.Password)
}

// StopReplication stops both threads, the applier by force where it does not
// stop. What was received and not applied stays.
func (l *Local) StopReplication(ctx context.Context) error {
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
	return l.stopApplier(ctx)
}

// CloneState returns what came of the last clone.
func (l *Local) CloneState(ctx context.Context) (CloneState, error) {
	var state string
	var number int
	var text, begun sql.NullString
	err := l.row(ctx, "read what came of a clone", "SELECT STATE, ERROR_NO, ERROR_MESSAGE, CONCAT(ID, ' ', BEGIN_TIME) FROM performance_schema.clone_status", nil, &state, &number, &text, &begun)
	if errors.Is(err, sql.ErrNoRows) {
		return CloneState{}, nil
	}
	if err != nil {
		return CloneState{}, err
	}
	out := CloneState{Completed: state == "Completed", Begun: begun.String}
	if number != 0 {
		out.Problem = fmt.Sprintf("error %d: %s", number, text.String)
	}
	return out, nil
}

// CloneProgress returns how far a clone under way is; it does not say since when.
func (l *Local) CloneProgress(ctx context.Context) (p decide.CloneProgress, err error) {
	var stage sql.NullString
	err = l.row(ctx, "read how far a clone is", "SELECT COALESCE(SUM(DATA), 0), COALESCE(SUM(ESTIMATE), 0), MAX(IF(STATE = 'In Progress', STAGE, NULL)) FROM performance_schema.clone_progress",
		nil, &p.Done, &p.Total, &stage)
	p.Stage = strings.ToLower(stage.String)
	return p, err
}

// ForgetSource removes the replication settings that a clone has brought along;
// their relay logs were not cloned.
func (l *Local) ForgetSource(ctx context.Context) error {
	return l.exec(ctx, "forget the donor's source", "RESET REPLICA ALL FOR CHANNEL ''")
}
