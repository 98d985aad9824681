//go:build monitoring

package integration

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/integration/harness"
)

// A browser shows the cluster as it is, hears of a failover while it looks, and shows it as
// the history has it; whoever signs in moves the primary and pauses; nobody else can. The
// page loads nothing from elsewhere, works with the keyboard alone, and is readable in
// light and dark and on a phone.
func TestMonitoringThePageShowsAFailoverWhileItIsWatched(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Writers(t, s, 2)
	before := record(t, s)
	watched := others(s, before.Primary)[0]
	var address string
	for i, name := range s.Servers() {
		if name == watched {
			address = s.Pages()[i]
		}
	}
	b := browse(t, s, address)
	b.await("#headline", fmt.Sprintf("%s takes writes in term %d", before.Primary, before.Term))
	b.await("#connection", "live")
	b.await("#why", "Nothing has to be done")
	b.await("#terms", "bootstrap")
	if n := b.says("String(document.querySelectorAll('.node[data-level=good]').length)"); n != "3" {
		t.Errorf("the picture shows %s servers that are well", n)
	}
	if picture := b.says("document.querySelector('#topology svg').getAttribute('aria-label')"); !strings.Contains(picture, before.Primary+" is primary and is open") || strings.Count(picture, "acknowledges its writes") != 2 {
		t.Errorf("the picture is described as %q", picture)
	}
	// Figures come every five seconds.
	b.await("#charts", "Writes were ") // Whether interrupted depends on how busy this machine is.
	within(t, "the page shows how much is written", func(ctx context.Context) error {
		return poll(ctx, func() error {
			if b.says(fmt.Sprintf("[...document.querySelectorAll('#rows tr')].find(r => r.textContent.startsWith(%q)).querySelector('[data-label=\"writes/s\"]').textContent", before.Primary)) == "" {
				return fmt.Errorf("no figures yet")
			}
			return nil
		})
	})
	b.shoot("light")
	b.readable("light")
	b.prefers("dark")
	b.shoot("dark")
	b.readable("dark")
	b.do(chromedp.EmulateViewport(375, 800))
	within(t, "the picture fits a phone", func(ctx context.Context) error {
		return poll(ctx, func() error {
			if box := b.says("document.querySelector('#topology svg').getAttribute('viewBox')"); !strings.HasPrefix(box, "0 0 372 ") {
				return fmt.Errorf("it is %s", box)
			}
			return nil
		})
	})
	b.shoot("phone")
	b.readable("phone")
	b.prefers("light")
	b.do(chromedp.EmulateViewport(1280, 900))
	b.accessible()
	b.says("document.activeElement.blur(); ''")
	if hidden := b.says("String(document.querySelector('#controls').hidden && [...document.querySelectorAll('.actions button')].every(e => e.hidden))"); hidden != "true" {
		t.Error("somebody who has not signed in is offered changes")
	}

	// What the page says is noted in the page itself, so that nothing is missed between two looks.
	b.says(`window.told = []; new MutationObserver(() => window.told.push(document.querySelector('#headline').textContent))
		.observe(document.querySelector('#headline'), { childList: true, characterData: true, subtree: true }); ''`)
	signal(t, s, before.Primary, syscall.SIGKILL)
	b.await("#headline", fmt.Sprintf("takes writes in term %d", before.Term+1))
	t.Logf("the page said: %s", b.says("window.told.join(' | ')"))
	b.await("#terms", "failover "+before.Primary)
	b.asHistory(s)
	within(t, "the page tells of the interruption", func(ctx context.Context) error {
		return poll(ctx, func() error {
			if says := b.text("#interruptions"); !strings.Contains(says, "Writes were interrupted") || !strings.Contains(says, "a new term") {
				return fmt.Errorf("it says %q", says)
			}
			return nil
		})
	})
	t.Log(b.text("#interruptions"))
	awaitCluster(t, s, "the former primary is back", sandbox.Settled)
	b.shoot("failover")

	b.signIn(s)
	now := record(t, s)
	to := others(s, now.Primary)[0]
	b.click("#rows", "Make "+to+" primary")
	b.await("#ask-title", "Make "+to+" primary?")
	b.shoot("switchover-asked")
	b.do(chromedp.KeyEvent(kb.Escape))
	if open := b.says("String(document.querySelector('#ask').open) + ' ' + document.activeElement.getAttribute('aria-label')"); open != "false Make "+to+" primary" {
		t.Errorf("after Escape the dialog is open, or the focus is elsewhere: %s", open)
	}
	if r := record(t, s); r.Primary != now.Primary {
		t.Error("a question that was cancelled moved the primary")
	}
	b.click("#rows", "Make "+to+" primary")
	b.do(chromedp.KeyEvent(kb.Enter)) // In the field for the time.
	b.await("#banners", to+" is primary in term")
	b.await("#headline", to+" takes writes")
	b.asHistory(s)

	b.click("#controls", "Pause the automation …")
	b.await("#ask-title", "Pause")
	b.do(chromedp.SendKeys("#ask-fields input[name=reason]", `maintenance <img src=x onerror="alert(1)">`))
	b.click("#ask", "Pause")
	b.await("#banners", `maintenance <img src=x onerror="alert(1)">`) // As text.
	b.shoot("paused")
	awaitCluster(t, s, "the pause is in force", func(c api.Cluster) bool { return c.Pause != nil && strings.HasPrefix(c.Pause.By, "client") })
	b.click("#banners", "Resume …")
	b.click("#ask", "Resume")
	awaitCluster(t, s, "the pause is over", func(c api.Cluster) bool { return c.Pause == nil })
	for until := time.Now().Add(30 * time.Second); strings.Contains(b.text("#banners"), "maintenance"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the banner of the pause stays")
		}
	}
	l.Check()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		t.Errorf("the page: %s", p)
	}
}
