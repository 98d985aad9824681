package election

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestEtcdsLogIsQuietButHeard(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	client, server := newZapLogger(log, false), newZapLogger(log, true)
	for range 100 {
		client.Warn("again and again", zap.Int("n", 1))
	}
	client.Info("client chatter")
	server.Info("server information")
	server.With(zap.String("who", "peer")).Error("broken", zap.Error(errors.New("reason")))
	text := out.String()
	for what, want := range map[string]int{
		"again and again": bridgeBurst, "client chatter": 0, `level=DEBUG msg="etcd says" etcd="server information"`: 1,
		"level=ERROR": 1, "who=peer": 1, "error=reason": 1,
	} {
		if got := strings.Count(text, what); got != want {
			t.Errorf("%q stands %d times in the log, want %d:\n%s", what, got, want, text)
		}
	}
	l := &limiter{counts: map[string]int{}}
	now := time.Now()
	for range bridgeBurst + 4 {
		l.allow("m", now)
	}
	if ok, dropped := l.allow("m", now.Add(bridgeWindow)); !ok || dropped != 4 {
		t.Errorf("the next window gives %v and %d suppressed", ok, dropped)
	}
}

func TestEtcdsFatalFaultDoesNotEndTheProcess(t *testing.T) {
	fatal := make(fatalHook, 1)
	done := make(chan bool, 1)
	go func() {
		ended := false
		defer func() { done <- ended }()
		newZapLogger(orDiscard(nil), true, zap.WithFatalHook(fatal)).Fatal("disk is gone", zap.Error(errors.New("EIO")))
		ended = true
	}()
	if receive(t, "the goroutine's end", done) {
		t.Error("etcd went on after a fatal fault")
	}
	if err := receive(t, "the fault", fatal); !strings.Contains(err.Error(), "disk is gone: EIO") {
		t.Errorf("fault reported as %v", err)
	}
}
