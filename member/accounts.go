package member

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// accountsPoll is how often the accounts are looked through, accountsTimeout
// bounds one look.
const (
	accountsPoll    = 10 * time.Second
	accountsTimeout = 5 * time.Second
)

// watchAccounts follows which accounts could undo the promise past this daemon.
// A look that fails is repeated; a server that does not answer is told elsewhere.
func (m *Member) watchAccounts(ctx context.Context) {
	for {
		short, cancel := context.WithTimeout(ctx, accountsTimeout)
		names, err := m.o.Local.MayShutDown(short)
		cancel()
		pause := accountsPoll
		if err != nil {
			pause = accountsTimeout
		} else {
			notices := shutdownNotices(names)
			m.notices.Store(&notices)
		}
		if wait(ctx, pause) != nil {
			return
		}
	}
}

func shutdownNotices(names []string) []decide.Finding {
	if len(names) == 0 {
		return nil
	}
	return []decide.Finding{{Code: decide.CodeMayShutDown, Detail: fmt.Sprintf(
		"SHUTDOWN is held by %s: who stops mysqld with it answers OK to commits that no replica has", strings.Join(names, ", "))}}
}
