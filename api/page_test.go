package api

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mysqlha/mysqlha/api/page"
)

// The page is for anyone, also where looking needs a role, and its browser may load
// nothing from elsewhere.
func TestThePageIsServedWithAPolicyOfItsOwn(t *testing.T) {
	g := newGuarded(t, true)
	for _, f := range page.Files() {
		response, body := g.ask(http.MethodGet, f.Path, "", "", "")
		if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != f.Type || body != string(f.Body) {
			t.Errorf("%s: %d, %s, %d bytes", f.Path, response.StatusCode, response.Header.Get("Content-Type"), len(body))
		}
		policy := response.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none';") || !strings.Contains(policy, "script-src 'self';") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("%s has the policy %q", f.Path, policy)
		}
	}
}

// What stands in the page's document is all that it needs, and all that its script looks
// for is there.
func TestThePageIsWhole(t *testing.T) {
	text := make(map[string]string)
	var paths []string
	for _, f := range page.Files() {
		text[f.Path] = string(f.Body)
		paths = append(paths, f.Path)
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"#]+)"`).FindAllStringSubmatch(text["/"], -1) {
		if !slices.Contains(paths, m[1]) && !strings.HasPrefix(m[1], "data:") {
			t.Errorf("the document loads %s", m[1])
		}
	}
	ids := regexp.MustCompile(`\$\('([^']+)'\)`).FindAllStringSubmatch(text["/page.js"], -1)
	if len(ids) < 10 {
		t.Fatalf("the script looks for %d elements", len(ids))
	}
	for _, m := range ids {
		if !strings.Contains(text["/"], `id="`+m[1]+`"`) {
			t.Errorf("the script looks for %s", m[1])
		}
	}
	for _, never := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("} {
		if strings.Contains(text["/page.js"], never) {
			t.Errorf("the script has %s: what others wrote must stay text", never)
		}
	}
	h := newHandler(Options{Backend: &world{}})
	for _, m := range regexp.MustCompile(`(?:get|post|call)\([\x60'](/[^'\x60?]*)`).FindAllStringSubmatch(text["/page.js"], -1) {
		if _, there := h.routes[m[1]]; !there {
			t.Errorf("the script asks for %s, which is not there", m[1])
		}
	}
}

// The endpoint tells a caller what he may do, so that a page offers nothing else.
func TestACallerIsToldWhatHeMayDo(t *testing.T) {
	g := newGuarded(t, true)
	for _, c := range []struct{ certificate, token, want string }{
		{"", "", `{"name":"","role":"","reads":false,"changes":false}`},
		{"plain", "", `{"name":"app","role":"","reads":false,"changes":false}`},
		{"mysqlha-reader", "", `{"name":"ann","role":"reader","reads":true,"changes":false}`},
		{"mysqlha-operator", "", `{"name":"ann","role":"operator","reads":true,"changes":true}`},
		{"mysqlha-operator", "guessed", `token-refused`},
	} {
		if _, text := g.ask(http.MethodGet, "/v1/caller", c.certificate, c.token, ""); !strings.Contains(text, c.want) {
			t.Errorf("%s is told %s", c.certificate, text)
		}
	}
	if refused := g.told.take(); !slices.Equal(refused, []string{"token-refused"}) {
		t.Errorf("counted as refused: %q", refused)
	}
}

// A page from elsewhere can have a browser ask for changes with its user's certificate.
func TestAPageFromElsewhereChangesNothing(t *testing.T) {
	g := newGuarded(t, false)
	for _, c := range []struct {
		name, header, value string
		status              int
	}{
		{"no browser", "", "", http.StatusOK},
		{"the page itself", "Sec-Fetch-Site", "same-origin", http.StatusOK},
		{"the page itself, by an older browser", "Origin", "https://" + g.address, http.StatusOK},
		{"a page from elsewhere", "Sec-Fetch-Site", "cross-site", http.StatusForbidden},
		{"a page of a neighbour", "Sec-Fetch-Site", "same-site", http.StatusForbidden},
		{"a page from elsewhere, by an older browser", "Origin", "https://evil.example", http.StatusForbidden},
	} {
		headers := http.Header{}
		if c.header != "" {
			headers.Set(c.header, c.value)
		}
		response, text := g.askWith(headers, http.MethodPost, "/v1/pause", "mysqlha-operator", "", `{"reason":"r"}`)
		if response.StatusCode != c.status || c.status != http.StatusOK && !strings.Contains(text, "cross-origin") {
			t.Errorf("%s: %d %s", c.name, response.StatusCode, text)
		}
	}
	if said := g.audit.take(); strings.Count(said, `"cross-origin"`) != 3 {
		t.Errorf("what was refused is not written down: %s", said)
	}
}

func TestWhatServersDidLatelyIsAskedForByMoment(t *testing.T) {
	g := newGuarded(t, false)
	for query, want := range map[string]string{
		"":                       `"server":"","step_ns":0,"samples":[{"at_ms":1,`,
		"?server=db2&since=1000": `"server":"db2","step_ns":0,"samples":[{"at_ms":1001,`,
		"?since=-1":              "write a moment in milliseconds since 1970",
		"?since=yesterday":       "write a moment in milliseconds since 1970",
	} {
		if _, text := g.ask(http.MethodGet, "/v1/recent"+query, "", "", ""); !strings.Contains(text, want) {
			t.Errorf("%q: %s", query, text)
		}
	}
}
