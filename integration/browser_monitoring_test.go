//go:build monitoring

package integration

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
)

// screenshots is where those of the page are kept, as output of the build.
const screenshots = "../bin/screenshots"

// browser is a real one that looks at a status page.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu       sync.Mutex
	problems []string
}

// browse starts a headless Chromium and opens a page of a sandbox.
func browse(t *testing.T, s *sandbox.Sandbox, address string) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("no chromium: apt-get install chromium")
	}
	// It trusts the certificate of this endpoint, which was verified, and nothing else.
	conn, err := tls.Dial("tcp", strings.Trim(strings.TrimPrefix(address, "https://"), "/"), certs.ClientConfig(certs.Files{CA: filepath.Join(s.Dir(), "client", "ca.crt")}, "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	key := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	conn.Close()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(key[:])))
	allocated, end := chromedp.NewExecAllocator(t.Context(), options...)
	ctx, close := chromedp.NewContext(allocated)
	t.Cleanup(func() {
		close()
		end()
	})
	b := &browser{t: t, ctx: ctx, base: address}
	if err := chromedp.Listen(ctx, b.heard); err != nil {
		t.Fatal(err)
	}
	command(b, network.Enable, network.EnableParams{})
	command(b, cdplog.Enable, cdp.Empty{})
	command(b, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "UTC"})
	b.do(chromedp.EmulateViewport(1280, 900), chromedp.Navigate(address))
	return b
}

// heard notes whatever goes wrong in the page, and whatever it asks of others.
func (b *browser) heard(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			problem += " " + e.ExceptionDetails.Exception.Description
		}
		b.problems = append(b.problems, problem)
	case *cdplog.EventEntryAdded:
		if e.Entry.Source == cdplog.EntrySourceSecurity || e.Entry.Source == cdplog.EntrySourceJavascript {
			b.problems = append(b.problems, e.Entry.Text)
		}
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, b.base) && !strings.HasPrefix(e.Request.URL, "data:") {
			b.problems = append(b.problems, "it asks for "+e.Request.URL)
		}
	}
}

// get does something in the browser that has a value.
func get[T any](b *browser, do func(context.Context) (T, error)) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	value, err := do(ctx)
	if err != nil {
		b.t.Fatalf("the browser: %v", err)
	}
	return value
}

// command gives the browser a command of its protocol.
func command[P, R any](b *browser, c cdp.Command[P, R], params P) R {
	b.t.Helper()
	return get(b, func(ctx context.Context) (R, error) { return chromedp.Call(ctx, c, params) })
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	get(b, func(ctx context.Context) (chromedp.Void, error) { return chromedp.Void{}, chromedp.Do(ctx, steps...) })
}

// says evaluates an expression of the page that is text.
func (b *browser) says(expression string) string {
	b.t.Helper()
	return get(b, func(ctx context.Context) (string, error) {
		return chromedp.Run(ctx, chromedp.Evaluate[string](expression))
	})
}

// prefers has the browser ask for light or dark colours.
func (b *browser) prefers(colours string) {
	b.t.Helper()
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: colours}}})
}

func (b *browser) text(selector string) string {
	b.t.Helper()
	return b.says(fmt.Sprintf("document.querySelector(%q)?.textContent ?? ''", selector))
}

// await waits until the text of an element has a part.
func (b *browser) await(selector, part string) {
	b.t.Helper()
	for until := time.Now().Add(60 * time.Second); !strings.Contains(b.text(selector), part); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			b.shoot("failed")
			b.t.Fatalf("%s says %q, not %q", selector, b.text(selector), part)
		}
	}
}

func (b *browser) shoot(name string) {
	b.t.Helper()
	picture := get(b, func(ctx context.Context) ([]byte, error) { return chromedp.Run(ctx, chromedp.FullScreenshot(100)) })
	if err := os.MkdirAll(screenshots, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(screenshots, name+".png"), picture, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// click clicks a button of the page by what it says.
func (b *browser) click(within, says string) {
	b.t.Helper()
	if found := b.says(fmt.Sprintf(`(() => {
		const e = [...document.querySelectorAll(%q)].find(e => (e.getAttribute('aria-label') ?? e.textContent) === %q && !e.hidden && e.offsetParent);
		if (!e) return 'there is none';
		e.focus(); e.click(); return 'clicked';
	})()`, within+" button", says)); found != "clicked" {
		b.t.Fatalf("the button %q: %s", says, found)
	}
}

// signIn does so with a token that is wrong, and then with the operator's.
func (b *browser) signIn(s *sandbox.Sandbox) {
	b.t.Helper()
	token, err := s.Token()
	if err != nil {
		b.t.Fatal(err)
	}
	b.click("header", "Sign in")
	b.do(chromedp.SendKeys("#ask-fields input[name=token]", token[:len(token)-1]))
	b.click("#ask", "Sign in")
	b.await("#ask-problem", "token")
	b.do(chromedp.SetValue("#ask-fields input[name=token]", token))
	b.click("#ask", "Sign in")
	b.await("#who", "operator client")
}

// lookAtText finds text whose contrast to what is behind it is below 4.5 to 1, as the
// Web Content Accessibility Guidelines ask for, and whatever is wider than the window.
const lookAtText = `(() => {
	const rgb = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length > 3 && m[3] === 0 ? null : m; };
	const luminance = c => { const [r, g, b] = c.slice(0, 3).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
	const behind = e => {
		if (e.closest('g.node')) return rgb(getComputedStyle(e.closest('g.node').querySelector('rect')).fill);
		for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c) return c; }
		return [255, 255, 255];
	};
	const found = [];
	if (document.documentElement.scrollWidth > innerWidth) found.push('the page is ' + document.documentElement.scrollWidth + ' wide');
	for (const e of document.querySelectorAll('body *')) {
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || e.closest('dialog:not([open]), .hidden, noscript, .skip, [hidden]')) continue;
		const style = getComputedStyle(e), ink = rgb(e.namespaceURI.endsWith('svg') ? style.fill : style.color), ground = behind(e);
		const [a, b] = [luminance(ink), luminance(ground)].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
		if (ratio < 4.5) found.push(e.textContent.slice(0, 30) + ': ' + ratio.toFixed(2));
	}
	return found.join('; ');
})()`

// readable sees that everything is, in the window and the colours of the moment.
func (b *browser) readable(as string) {
	b.t.Helper()
	if found := b.says(lookAtText); found != "" {
		b.t.Errorf("%s is not readable: %s", as, found)
	}
}

// accessible sees what a screen reader would: a name for everything that can be used or
// looked at, headings, landmarks, and a table of the servers.
func (b *browser) accessible() {
	b.t.Helper()
	nodes := command(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes
	value := func(v *accessibility.Value) (text string) {
		if v != nil {
			_ = json.Unmarshal(v.Value, &text)
		}
		return text
	}
	seen := make(map[string]int)
	for _, n := range nodes {
		role := value(n.Role)
		if n.Ignored {
			continue
		}
		seen[role]++
		if slices.Contains([]string{"button", "link", "image", "region", "textbox", "spinbutton", "heading", "table"}, role) && value(n.Name) == "" && role != "table" {
			b.t.Errorf("a screen reader finds a %s without a name", role)
		}
	}
	for role, least := range map[string]int{"main": 1, "banner": 1, "heading": 6, "table": 1, "row": 4, "rowheader": 3, "columnheader": 7, "status": 1, "image": 5, "link": 3} {
		if seen[role] < least {
			b.t.Errorf("a screen reader finds %d of %s, not %d: %v", seen[role], role, least, seen)
		}
	}
	// Whoever has no mouse comes to everything, the way around the rest first.
	b.says("document.activeElement.blur(); ''")
	b.do(chromedp.KeyEvent(kb.Tab))
	if first := b.says("document.activeElement.textContent"); first != "Skip to the servers" {
		b.t.Errorf("the first stop of the keyboard is %q", first)
	}
}

// asHistory sees that the newest entry is shown with the times that the history has.
func (b *browser) asHistory(s *sandbox.Sandbox) {
	b.t.Helper()
	within(b.t, "the page shows the newest entry of the history", func(ctx context.Context) error {
		return poll(ctx, func() error {
			history, err := s.API().History(ctx, 1)
			if err != nil {
				return err
			}
			newest := history[0]
			shown := b.says("(li => [li?.dataset.plan, li?.dataset.times].join(' '))(document.querySelector('#terms li'))")
			want := newest.Plan.ID
			for i, m := range newest.Plan.Marks[1:] {
				want += fmt.Sprintf(" %s=%d", newest.Plan.Marks[i].Name, m.At.UnixMilli()-newest.Plan.Marks[i].At.UnixMilli())
			}
			if shown != want {
				return fmt.Errorf("it shows %q, not %q", shown, want)
			}
			return nil
		})
	})
}
