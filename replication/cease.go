package replication

import (
	"context"
	"errors"
)

var errWaiting = errors.New("a commit waits for an acknowledgement")

// CeaseSource undoes BecomeSource on a server that no client could write to
// since: it switches source-side semi-sync off. It refuses where a session
// waits for an acknowledgement, because that would be answered OK (S10).
func (l *Local) CeaseSource(ctx context.Context) error {
	waiting, err := l.WaitSessions(ctx)
	if err != nil {
		return err
	}
	if waiting > 0 {
		return l.wrap("switch source-side semi-sync off", errWaiting)
	}
	return l.exec(ctx, "switch source-side semi-sync off", "SET GLOBAL rpl_semi_sync_source_enabled = OFF")
}
