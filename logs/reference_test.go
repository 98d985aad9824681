package logs_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mysqlha/mysqlha/logs"
)

// write has the page be written instead of compared.
var write = flag.Bool("write", false, "write the table of docs/logs.md")

const (
	page  = "../docs/logs.md"
	begin = "<!-- Written by `go test ./logs -write`; the texts stand in logs/events.go. -->\n"
	end   = "<!-- End of what is written. -->\n"
)

// levels are the methods of a logger that write a line, with what the page says. Log takes
// its level as an argument, so that one stands for more than one.
var levels = map[string]string{"Info": "info", "InfoContext": "info", "Warn": "warn", "WarnContext": "warn",
	"Error": "error", "ErrorContext": "error", "Log": "", "LogAttrs": ""}

// varying are the levels of those messages whose lines have no fixed one.
var varying = map[string]string{"audit": "info, warn", "decided": "info, warn", "plan ended": "info, warn", "etcd says": "warn, error"}

// call is one call of a logger.
type call struct {
	at, folder, level, message string
	constant                   bool
	keys                       []string
}

// calls finds all calls of loggers in code that is no test. What is not a logger is told
// apart by its arguments: an error's Error has none, and functions of packages are none.
// The sandbox's supervisor is a program of its own, for one person before one screen, and
// the reference's shop is an application that knows nothing of us.
func calls(t *testing.T) []call {
	t.Helper()
	var all []call
	files := make(map[string][]*ast.File)
	set := token.NewFileSet()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && path != ".." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin" || name == "sandbox" || name == "reference" || name == "integration"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		tree, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		files[filepath.Dir(path)] = append(files[filepath.Dir(path)], tree)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder, trees := range files {
		known := constants(trees)
		for _, tree := range trees {
			packages := imported(tree)
			ast.Inspect(tree, func(n ast.Node) bool {
				c, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				method, ok := c.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				level, writes := levels[method.Sel.Name]
				x, plain := method.X.(*ast.Ident)
				if !writes || len(c.Args) == 0 || plain && packages[x.Name] && x.Name != "slog" {
					return true
				}
				found := call{at: set.Position(c.Pos()).String(), folder: strings.TrimPrefix(filepath.ToSlash(folder), "../"), level: level}
				message := 0
				switch {
				case strings.HasSuffix(method.Sel.Name, "Context"):
					message = 1
				case level == "":
					message = 2
				}
				if message < len(c.Args) {
					found.message, found.constant = text(c.Args[message], known)
				}
				for _, arg := range c.Args[min(message+1, len(c.Args)):] {
					if key, ok := text(arg, nil); ok {
						found.keys = append(found.keys, key)
					}
				}
				all = append(all, found)
				return true
			})
		}
	}
	if len(all) < 90 {
		t.Fatalf("only %d calls of loggers were found", len(all))
	}
	return all
}

// constants are those strings of a package that stand alone.
func constants(trees []*ast.File) map[string]string {
	known := make(map[string]string)
	for _, tree := range trees {
		for _, d := range tree.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for i, name := range v.Names {
					if i < len(v.Values) {
						if s, ok := text(v.Values[i], nil); ok {
							known[name.Name] = s
						}
					}
				}
			}
		}
	}
	return known
}

// text is the value of an expression that is a constant string.
func text(e ast.Expr, known map[string]string) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		s, ok := known[e.Name]
		return s, ok
	}
	return "", false
}

func imported(tree *ast.File) map[string]bool {
	names := make(map[string]bool)
	for _, i := range tree.Imports {
		path, _ := strconv.Unquote(i.Path.Value) // It has been parsed.
		name := filepath.Base(path)
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = true
	}
	return names
}

func TestEveryLineHasAnEvent(t *testing.T) {
	known, used := make(map[string]bool), make(map[string]bool)
	for _, e := range logs.Events() {
		known[e.Message] = true
	}
	for _, c := range calls(t) {
		used[c.message] = true
		switch {
		case !c.constant:
			t.Errorf("%s: the message is no constant, and so has no event: say what varies in attributes", c.at)
		case !known[c.message]:
			t.Errorf("%s: %q has no event: give it a name that stays, in logs/events.go", c.at, c.message)
		case c.level == "" && varying[c.message] == "":
			t.Errorf("%s: %q has no fixed level: say in varying which it may have", c.at, c.message)
		}
		for _, key := range c.keys {
			if slices.Contains([]string{"event", "level", "msg", "time"}, key) {
				t.Errorf("%s: the attribute %q would stand twice in the line", c.at, key)
			}
		}
	}
	for _, e := range logs.Events() {
		if !used[e.Message] {
			t.Errorf("nothing logs %q, the message of the event %s: if its text was changed, change it in logs/events.go too; the name stays", e.Message, e.Name)
		}
	}
}

func TestEventsAreWellNamed(t *testing.T) {
	form := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	names, messages := make(map[string]bool), make(map[string]bool)
	for _, e := range logs.Events() {
		if !form.MatchString(e.Name) {
			t.Errorf("%q is not in kebab-case", e.Name)
		}
		if names[e.Name] || messages[e.Message] {
			t.Errorf("the event %s, or its message, is there twice", e.Name)
		}
		names[e.Name], messages[e.Message] = true, true
		if !strings.HasSuffix(e.Means, ".") {
			t.Errorf("%s: %q is no sentence", e.Name, e.Means)
		}
	}
}

// The page shows each event with who writes it, so that nobody renames one unnoticed.
func TestEveryEventIsOnThePage(t *testing.T) {
	lines := make(map[string]map[string]bool)
	folders := make(map[string]map[string]bool)
	for _, c := range calls(t) {
		if lines[c.message] == nil {
			lines[c.message], folders[c.message] = make(map[string]bool), make(map[string]bool)
		}
		if c.level == "" {
			c.level = varying[c.message]
		}
		lines[c.message][c.level], folders[c.message][c.folder] = true, true
	}
	var b strings.Builder
	b.WriteString("\n| event | level | written by | message | |\n| --- | --- | --- | --- | --- |\n")
	for _, e := range logs.Events() {
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s | %s |\n", e.Name, joined(lines[e.Message]), joined(folders[e.Message]), e.Message, e.Means)
	}
	b.WriteString("\n")
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatal("docs/logs.md has no place for the table")
	}
	want := head + begin + b.String() + end + tail
	if *write {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(raw) != want {
		t.Error("docs/logs.md is not what the code says: go test ./logs -write")
	}
}

func joined(set map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(set)), ", ")
}
