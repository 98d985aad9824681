package probes

import (
	"context"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
)

// SQL returns a probe of a mysqld on a kept connection. An error that proves
// the server alive (too many connections, say) is no failure. Closed says that
// the answer showed read_only, or was that clients are refused.
func SQL(r *replication.Remote) func(context.Context) (failure decide.Failure, closed bool) {
	return func(ctx context.Context) (decide.Failure, bool) {
		answer, err := r.Probe(ctx)
		failure, alive := replication.Classify(err)
		if failure == decide.FailureNone && !alive {
			return decide.FailureSilent, false // Cancelled: nothing was heard.
		}
		return failure, err == nil && answer.ReadOnly || replication.RefusesClients(err)
	}
}
