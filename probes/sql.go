package probes

import (
	"context"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
)

// SQL returns a probe of a mysqld on a kept connection. An error that proves
// the server alive (too many connections, say) is no failure.
func SQL(r *replication.Remote) func(context.Context) decide.Failure {
	return func(ctx context.Context) decide.Failure {
		_, err := r.Probe(ctx)
		failure, alive := replication.Classify(err)
		if failure == decide.FailureNone && !alive {
			return decide.FailureSilent // Cancelled: nothing was heard.
		}
		return failure
	}
}
