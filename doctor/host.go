package doctor

import (
	"cmp"
	"slices"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
)

// Host is what was read of one server and its host.
type Host struct {
	// Server is its name, Now when it was read.
	Server string
	Now    time.Time
	// Facts are mysqld's. FactsError says why there are none, empty where there are.
	Facts      replication.Facts
	FactsError string
	// ControlUser is the name of the daemon's account.
	ControlUser string
	// Own are the certificates of the host, of its daemon and of its mysqld.
	Own []Certificate
	// Options are what mysqld's option files say, as arguments; nil where that is not
	// known.
	Options []string
	// Attached says that mysqld was started without its gate.
	Attached bool
	// Unguarded says that no gate watches over it now.
	Unguarded bool
	// Disk is how full its disk is; zero where that is not known.
	Disk decide.Disk
}

// Certificate is one that is served on a host.
type Certificate struct {
	// Of says whose it is, File where it lies.
	Of, File string
	// NotAfter is its end, zero where it could not be read; Problem says why, or what
	// it does not prove.
	NotAfter time.Time
	Problem  string
	// Served is the end of the one that is in use, zero where that is the file's or
	// not known.
	Served time.Time
	// Reload is what has the file taken into use.
	Reload string
}

// Examine returns all that is found on a host, the worst first.
func Examine(h Host) []decide.Diagnosis {
	e := examination{host: h}
	e.certificates()
	switch {
	case h.FactsError != "":
		e.find(decide.CodeNotExamined, "mysqld could not be examined: "+h.FactsError, "")
	case h.Facts.Supported() != "":
		e.find(decide.CodeWrongVersion, h.Facts.Supported(), "")
	default:
		e.variables()
		e.plugins()
		e.blocking()
		e.accounts()
		e.tables()
		e.channels()
		e.retention()
	}
	e.options()
	Sort(e.found)
	return e.found
}

// Sort puts the worst first.
func Sort(all []decide.Diagnosis) {
	slices.SortStableFunc(all, func(a, b decide.Diagnosis) int {
		return cmp.Or(cmp.Compare(rank(a.Severity), rank(b.Severity)), cmp.Compare(a.Server, b.Server), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Detail, b.Detail))
	})
}

func rank(s decide.Severity) int {
	return slices.Index([]decide.Severity{decide.SeverityCritical, decide.SeverityWarning, decide.SeverityInfo}, s)
}

// examination collects what is found.
type examination struct {
	host  Host
	found []decide.Diagnosis
}

// find notes a finding with the severity of the catalogue. Statements, if any, set it
// right on the running server.
func (e *examination) find(code decide.Code, detail, mend string, statements ...string) {
	f := Of(code, e.host.Server, detail, mend)
	f.Statements = statements
	e.found = append(e.found, f)
}

// Of returns a finding with the severity of the catalogue.
func Of(code decide.Code, server, detail, mend string) decide.Diagnosis {
	entry, _ := decide.Explain(code)
	return decide.Diagnosis{Code: code, Severity: entry.Severity, Server: server, Detail: detail, Mend: mend}
}
