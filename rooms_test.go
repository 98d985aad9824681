package mysqlha_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/mysqlha/mysqlha"

// room is one folder with what it may import of this module.
type room struct {
	// may are folders of this module; a folder stands for itself alone, "dir/..."
	// for all below it too, "..." for anything.
	may []string
	// never are other packages that it must not import.
	never []string
	// why is the reason, told when the rule is broken.
	why string
}

// impure are the packages that bring input, output or waiting.
var impure = []string{"context", "database/sql", "net", "net/http", "os", "os/exec", "syscall", "io", "log", "log/slog", "math/rand", "math/rand/v2", "sync", "runtime", "unsafe"}

// rooms are all folders with code that is not a test. A folder below one that
// is listed has the rule of the nearest one above it.
var rooms = map[string]room{
	"replication/gtid": {nil, impure,
		"the arithmetic of GTID sets is proven by tests alone; anything else in it would need a server to be tested"},
	"orchestrator/decide": {[]string{"replication/gtid"}, impure,
		"the judgement is pure, so that a simulation drives the code that decides in production"},
	"election": {nil, nil,
		"leadership and the keys in etcd know nothing of MySQL; they can be tested and replaced alone"},
	"replication/binlog": {[]string{"replication/gtid"}, slices.DeleteFunc(slices.Clone(impure), func(p string) bool { return p == "io" || p == "os" }),
		"what a file holds is found out by tests on files; whoever cuts them is elsewhere"},
	"replication/process": {[]string{"orchestrator/decide", "replication/gtid"}, nil,
		"a process is looked at and killed without knowing what a replica is; the words of its states are decide's"},
	"replication/guard": {[]string{"replication/process", "replication/binlog", "replication/gtid", "orchestrator/decide"}, nil,
		"the gate must start, stop and kill mysqld while all the rest is down"},
	"replication": {[]string{"orchestrator/decide", "replication/gtid"}, nil,
		"the hands on one server obey specs; they see neither etcd nor other daemons"},
	"bus": {[]string{"election", "orchestrator/decide"}, nil,
		"the bus carries decide's words through election's keys and judges nothing"},
	"orchestrator": {[]string{"bus", "election", "orchestrator/decide", "replication/gtid"}, nil,
		"the leader writes to etcd only: with replication in reach it could act on another host's mysqld"},
	"member": {[]string{"replication", "replication/process", "replication/binlog", "orchestrator/decide", "replication/gtid"}, nil,
		"a daemon acts on its own mysqld as its spec says; etcd reaches it through an interface of its own"},
	"routing": {[]string{"bus", "redirect", "orchestrator/decide"}, nil,
		"it only translates the record into routes"},
	"probes": {[]string{"orchestrator/decide", "replication"}, nil,
		"a probe asks one server one question and hands the answer to the leader"},
	"redirect": {[]string{"orchestrator/decide"}, nil,
		"bytes pass whatever the cluster does; it is told its targets"},
	"api/page": {nil, nil, "the page is a client of the endpoint like any other, and its files alone are served"},
	"api": {[]string{"api/page", "orchestrator/decide", "replication/gtid", "certs"}, nil,
		"it shows what it is given, so that it answers while etcd or mysqld does not"},
	"metrics": {[]string{"orchestrator/decide", "replication/gtid"}, nil,
		"it only listens to events"},
	"config": {[]string{"orchestrator/decide"}, nil,
		"a file is checked without anything running"},
	"hooks": {[]string{"orchestrator/decide"}, nil,
		"it is handed what has happened, and nothing waits for it"},
	"logs": {nil, nil,
		"it only shapes lines; whoever writes one is handed a slog.Logger"},
	"doctor": {[]string{"orchestrator/decide", "replication", "replication/guard"}, nil,
		"it judges facts that others have read, and can be asked about any server"},
	"firewall": {[]string{"config"}, nil,
		"rules are rendered from a description, wherever that is"},
	"certs": {[]string{"orchestrator/decide", "config"}, nil,
		"keys and certificates are made before anything else exists"},
	"deploy/sandbox": {[]string{"deploy/sandbox/...", "api", "certs", "config", "orchestrator/decide", "replication/gtid"}, nil,
		"the sandbox uses the product from outside: its binaries, its files and its API"},
	"deploy/sandbox/load": {nil, nil,
		"the load checks the product's promise and so must share no code with it"},
	"deploy/packages": {nil, nil,
		"it packs what the source holds and the built programs say, and shares no code with them"},
	"deploy/prometheus": {nil, nil,
		"the shipped rules are handed out as they are"},
	"deploy/alertmanager": {nil, nil,
		"the shipped routing is handed out as it is"},
	"deploy/systemd": {nil, nil,
		"what a host's system needs is handed out as it is"},
	"deploy/reference": {[]string{"deploy/reference", "deploy/reference/customer", "deploy/reference/capture", "deploy/reference/scan", "deploy/sandbox/...", "deploy/sandbox", "deploy/prometheus", "deploy/alertmanager", "deploy/packages/texts", "deploy/systemd", "api", "certs", "config"}, nil,
		"the site is made of what is shipped: the commands, the sandbox, the rules and the description"},
	"deploy/reference/shop": {nil, nil,
		"an application knows MySQL, and that it must ask again; it knows nothing of mysqlha"},
	"deploy/reference/customer": {nil, nil,
		"customers check the promise, and so must share no code with whoever gives it"},
	"deploy/reference/capture": {nil, nil,
		"whoever listens on a link knows nothing of what is said there"},
	"deploy/reference/scan": {nil, nil,
		"it judges firewalls from outside, and so must share no code with whoever makes them"},
	"cmd":         {[]string{"..."}, nil, "wiring knows everybody, and nobody imports it"},
	"integration": {[]string{"..."}, nil, "it has only tests"},
}

// nobodyImports are folders that are ends, not parts.
var nobodyImports = map[string]string{
	"cmd":          "a command's wiring is no library",
	"integration":  "it has only tests",
	"logs":         "a logger is made where a program starts, and handed on",
	"member":       "only cmd starts a member",
	"orchestrator": "only cmd starts a leader; its words are in orchestrator/decide",
}

// source is one file of code that is not a test.
type source struct {
	folder, file string
	tree         *ast.File
}

func TestEveryRoomImportsOnlyWhatItMay(t *testing.T) {
	for _, s := range sources(t) {
		name, rule, found := roomOf(s.folder)
		if !found {
			t.Errorf("%s: the folder %q has no rule: add it to rooms with a reason", s.file, s.folder)
			continue
		}
		for _, imported := range imports(t, s) {
			of, ours := strings.CutPrefix(imported, module+"/")
			switch {
			case slices.Contains(rule.never, imported):
				t.Errorf("%s imports %s, which %s must not: %s", s.file, imported, name, rule.why)
			case ours && of != s.folder && !allowed(rule, of):
				t.Errorf("%s imports %s, which %s must not (it may: %s): %s", s.file, of, name, strings.Join(rule.may, ", "), rule.why)
			case ours && strings.HasSuffix(of, "integration"):
				t.Errorf("%s imports %s, which has only tests", s.file, of)
			}
			if why, closed := nobodyImports[of]; ours && closed && !strings.HasPrefix(s.folder, "cmd/") {
				t.Errorf("%s imports %s: %s", s.file, of, why)
			}
		}
	}
}

func TestEveryRuleOfARoomSpeaksOfAFolderThatExists(t *testing.T) {
	exists := make(map[string]bool)
	for _, s := range sources(t) {
		for dir := s.folder; dir != "."; dir = filepath.ToSlash(filepath.Dir(dir)) {
			exists[dir] = true
		}
	}
	for name, rule := range rooms {
		if !exists[name] && name != "integration" {
			t.Errorf("there is no code in %q, but a rule for it", name)
		}
		if rule.why == "" {
			t.Errorf("the rule of %q has no reason", name)
		}
	}
}

// Time enters the judgement as a value only: whoever reads a clock or waits in
// there cannot be simulated.
func TestDecideReadsNoClockAndStartsNothing(t *testing.T) {
	for _, s := range sources(t) {
		if s.folder != "orchestrator/decide" && s.folder != "replication/gtid" {
			continue
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", s.file)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(
					[]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}, n.Sel.Name) {
					t.Errorf("%s uses time.%s", s.file, n.Sel.Name)
				}
			case *ast.ImportSpec:
				if n.Name != nil && n.Path.Value == `"time"` {
					t.Errorf("%s imports time under another name", s.file)
				}
			}
			return true
		})
	}
}

// sources parses all files of the module that are not tests.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		tree, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(filepath.Dir(path)), filepath.ToSlash(path), tree})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no source found: the test must run in the module's root")
	}
	return all
}

func imports(t *testing.T, s source) []string {
	t.Helper()
	var out []string
	for _, i := range s.tree.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatalf("%s: %v", s.file, err)
		}
		out = append(out, path)
	}
	return out
}

// roomOf returns the rule of the folder, or of the nearest one above it.
func roomOf(folder string) (string, room, bool) {
	for dir := folder; dir != "."; dir = filepath.ToSlash(filepath.Dir(dir)) {
		if r, ok := rooms[dir]; ok {
			return dir, r, true
		}
	}
	return "", room{}, false
}

func allowed(rule room, of string) bool {
	return slices.ContainsFunc(rule.may, func(may string) bool {
		if may == "..." || may == of {
			return true
		}
		above, deep := strings.CutSuffix(may, "/...")
		return deep && strings.HasPrefix(of, above+"/")
	})
}
