//go:build reference

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/deploy/reference"
)

// shown is a command of the page of questions, with the lines that it promises.
type shown struct {
	command  string
	promises []string
}

// showsOf takes the commands out of a page: they stand in blocks of console after the
// prompt of root.
func showsOf(t *testing.T, page string) (all []shown) {
	t.Helper()
	inside := false
	for _, l := range strings.Split(page, "\n") {
		switch command, prompted := strings.CutPrefix(l, "# "); {
		case l == "```console":
			inside = true
		case l == "```":
			inside = false
		case inside && prompted:
			all = append(all, shown{command: command})
		case inside && strings.Trim(l, " …") != "":
			if len(all) == 0 {
				t.Fatalf("the page promises %q of no command", l)
			}
			all[len(all)-1].promises = append(all[len(all)-1].promises, l)
		}
	}
	return all
}

// forSite puts a site of a test in the place of the one that the page speaks of.
func forSite(o reference.Options, s *reference.Site, text string) string {
	second := strings.Split(s.Description().Public.Address, ".")[1]
	text = strings.NewReplacer("bin/mysqlha", o.Own+"/mysqlha", "mharef-", o.Name+"-", "/var/lib/mysqlha-reference", o.Dir,
		"10.77.", "10."+second+".", "deploy/reference/site.yaml", o.Description).Replace(text)
	return regexp.MustCompile(`\bbin/infra (\w+)`).ReplaceAllString(text, o.Own+"/infra $1 --dir "+o.Dir)
}

// pieces are what a promised line is made of, besides words that must stand there: what
// was left out, addresses, hosts, what must be exact, numbers, and space.
var pieces = regexp.MustCompile(`…|\d+\.\d+\.\d+\.\d+(?::\d+)?|\b(?:lb|web|app|db)\d\b|reaches \d+|\d+(?:\.\d+)?(?:e[+-]\d+)?|\s+`)

// keeps tells whether a line is what was promised: another host of the tier may stand for
// one, and other numbers for those that are not 0.
func keeps(promise, line string) bool {
	var pattern strings.Builder
	var zero []bool
	at := 0
	promise, line = strings.TrimSpace(promise), strings.TrimSpace(line)
	for _, p := range pieces.FindAllStringIndex(promise, -1) {
		pattern.WriteString(regexp.QuoteMeta(promise[at:p[0]]))
		piece := promise[p[0]:p[1]]
		at = p[1]
		number, err := strconv.ParseFloat(piece, 64)
		switch {
		case piece == "…":
			pattern.WriteString(`.*`)
		case strings.TrimSpace(piece) == "":
			pattern.WriteString(`\s+`)
		case strings.Count(piece, ".") == 3:
			address, port, found := strings.Cut(piece, ":")
			pattern.WriteString(regexp.QuoteMeta(address[:strings.LastIndex(address, ".")+1]) + `\d+`)
			if n, _ := strconv.Atoi(port); found && n < 1<<15 {
				pattern.WriteString(":" + port)
			} else if found {
				pattern.WriteString(`:\d+`)
			}
		case strings.HasPrefix(piece, "reaches"):
			pattern.WriteString(piece)
		case err != nil:
			pattern.WriteString(piece[:len(piece)-1] + `\d`)
		default:
			pattern.WriteString(`(\d+(?:\.\d+)?(?:e[+-]\d+)?)`)
			zero = append(zero, number == 0)
		}
	}
	pattern.WriteString(regexp.QuoteMeta(promise[at:]))
	found := regexp.MustCompile("^" + pattern.String() + "$").FindStringSubmatch(line)
	if found == nil {
		return false
	}
	for i, text := range found[1:] {
		if n, err := strconv.ParseFloat(text, 64); err != nil || (n == 0) != zero[i] {
			return false
		}
	}
	return true
}

// broken is the first promise that is not kept in its turn, empty for none.
func broken(promises []string, output string) string {
	lines := strings.Split(output, "\n")
	for _, p := range promises {
		for {
			if len(lines) == 0 {
				return p
			}
			line := lines[0]
			lines = lines[1:]
			if keeps(p, line) {
				break
			}
		}
	}
	return ""
}

func TestReferencePromisesOfAPageAreCompared(t *testing.T) {
	for _, c := range []struct {
		promise, line string
		want          bool
	}{
		{"  989 orders acknowledged, 0 lost, 0 doubled", "12 orders acknowledged, 0 lost, 0 doubled", true},
		{"  989 orders acknowledged, 0 lost, 0 doubled", "12 orders acknowledged, 1 lost, 0 doubled", false},
		{"  989 orders acknowledged, 0 lost, 0 doubled", "0 orders acknowledged, 0 lost, 0 doubled", false},
		{"host=db1  25.4", "host=db3  1.2e+06", true},
		{"host=db1  25.4", "host=web1  25.4", false},
		{"web1 reaches 2 of 220 ports", "web2 reaches 2 of 219 ports", true},
		{"web1 reaches 2 of 220 ports", "web1 reaches 3 of 220 ports", false},
		{" db1     replica  in sync  10.77.4.1:3306  yes", " db2  replica  in sync  10.77.4.2:3306  yes ", true},
		{" db1     replica  in sync  10.77.4.1:3306  yes", " db2  replica  in sync  10.77.4.2:3307  yes ", false},
		{"198.51.100.10:50062 […] https web_https/web2 …", "198.51.100.10:39999 [27/Nov/2026:05:46:55.835] https web_https/web1 1/0", true},
		{"no answer", "", false},
		{"… requests failed, …", "5 requests failed, 3 orders", true},
	} {
		if got := keeps(c.promise, c.line); got != c.want {
			t.Errorf("%q for %q: %t", c.line, c.promise, got)
		}
	}
	if missed := broken([]string{"a 1", "b 2"}, "b 3\nx\na 4\n"); missed != "b 2" {
		t.Errorf("out of their turn: %q is missed", missed)
	}
}

// theQuestionsAreAnsweredAsThePageSays runs every command of docs/questions.md. What asks
// the monitoring is asked again for as long as it takes to hear of what has just happened.
func theQuestionsAreAnsweredAsThePageSays(t *testing.T, o reference.Options, s *reference.Site) {
	text, err := os.ReadFile("../docs/questions.md")
	if err != nil {
		t.Fatal(err)
	}
	all := showsOf(t, forSite(o, s, string(text)))
	if questions := bytes.Count(text, []byte("\n## ")); questions < 10 || len(all) < 2*questions {
		t.Fatalf("the page has %d questions and %d commands", questions, len(all))
	}
	promises := 0
	for _, one := range all {
		if len(one.promises) == 0 {
			t.Errorf("%s: the page promises nothing of it", one.command)
		}
		promises += len(one.promises)
		patience := time.Duration(0)
		if strings.Contains(one.command, "/infra query ") || strings.Contains(one.command, "/infra status ") {
			patience = 30 * time.Second
		}
		begun := time.Now()
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			cmd := exec.CommandContext(ctx, "bash", "-c", one.command)
			cmd.Dir = ".."
			// What it has started ends with it.
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
			cmd.WaitDelay = 10 * time.Second
			out, err := cmd.CombinedOutput()
			cancel()
			if missed := broken(one.promises, string(out)); err == nil && missed != "" {
				err = fmt.Errorf("it does not say in its turn: %s", missed)
			}
			if err == nil {
				t.Logf("%s\n%s", one.command, out)
				break
			}
			if time.Since(begun) >= patience || errors.Is(t.Context().Err(), context.Canceled) {
				t.Errorf("%s\n%v\n%s", one.command, err, out)
				break
			}
			time.Sleep(500 * time.Millisecond)
		}
	}
	t.Logf("%d commands keep %d promises", len(all), promises)
}
