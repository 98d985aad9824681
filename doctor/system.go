package doctor

import (
	"fmt"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/guard"
)

// expiresSoon is how long before its end a certificate is a finding.
const expiresSoon = 21 * 24 * time.Hour

func (e *examination) certificates() {
	for _, c := range e.host.Own {
		if c.Problem != "" {
			e.find(decide.CodeCertificateUnfit, fmt.Sprintf("the certificate of %s (%s): %s", c.Of, c.File, c.Problem), "mysqlha certs issue --name "+e.host.Server+" --host ADDRESS")
		}
		if c.NotAfter.IsZero() {
			continue
		}
		if left := c.NotAfter.Sub(e.host.Now); left < expiresSoon {
			detail := fmt.Sprintf("the certificate of %s (%s) ends in %d days, on %s", c.Of, c.File, int(left.Hours()/24), c.NotAfter.Format(time.DateOnly))
			if left <= 0 {
				detail = fmt.Sprintf("the certificate of %s (%s) ended on %s", c.Of, c.File, c.NotAfter.Format(time.DateOnly))
			}
			e.find(decide.CodeCertificateExpires, detail, "mysqlha certs issue --name "+e.host.Server+" --host ADDRESS")
			if left <= 0 {
				e.found[len(e.found)-1].Severity = decide.SeverityCritical
			}
		}
		if !c.Served.IsZero() && !c.Served.Equal(c.NotAfter) {
			e.find(decide.CodeCertificateNotServed, fmt.Sprintf("%s serves a certificate that ends on %s, and %s ends on %s", c.Of, c.Served.Format(time.DateOnly), c.File, c.NotAfter.Format(time.DateOnly)), c.Reload, c.Reload)
		}
	}
}

// options are judged as the gate would override them.
func (e *examination) options() {
	for _, option := range e.host.Options {
		if rule := guard.Overrides(option); rule != "" {
			e.find(decide.CodeOptionContradicts, fmt.Sprintf("my.cnf says %s, which the gate overrides with %s", strings.TrimLeft(option, "-"), rule), "take the line out of my.cnf")
		}
	}
	if e.host.Unguarded {
		e.find(decide.CodeUnguarded, "the guard of its mysqld is gone: nobody closes it if its daemon hangs, and a stop goes past the gate", "mysqlhad guard --attach --config FILE, as a service")
	}
	if e.host.Attached {
		e.find(decide.CodeAttached, "its mysqld was started without the gate, which watches over it until it ends: a stop of its old service goes past the gate",
			"restart it through mysqlhad guard at leisure; of the primary, after mysqlha switchover")
	}
}
