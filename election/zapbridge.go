package election

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// bridgeWindow and bridgeBurst bound what etcd may say: around an outage it repeats the same line many times a second.
	bridgeWindow = 10 * time.Second
	bridgeBurst  = 3
)

// newZapLogger returns a zap logger that hands etcd's warnings and errors to log, each message at most bridgeBurst times
// in bridgeWindow. With infoAsDebug its informational lines are passed on as debug lines.
func newZapLogger(log *slog.Logger, infoAsDebug bool, opts ...zap.Option) *zap.Logger {
	return zap.New(&bridge{log: log, info: infoAsDebug, limit: &limiter{counts: map[string]int{}}}, opts...)
}

// bridge is a zapcore.Core that writes to slog.
type bridge struct {
	log    *slog.Logger
	info   bool
	fields []zapcore.Field
	limit  *limiter
}

// Enabled implements zapcore.LevelEnabler.
func (b *bridge) Enabled(level zapcore.Level) bool {
	if level == zapcore.InfoLevel {
		return b.info && b.log.Enabled(context.Background(), slog.LevelDebug)
	}
	return level >= zapcore.WarnLevel
}

// With implements zapcore.Core.
func (b *bridge) With(fields []zapcore.Field) zapcore.Core {
	all := append(append([]zapcore.Field(nil), b.fields...), fields...)
	return &bridge{log: b.log, info: b.info, fields: all, limit: b.limit}
}

// Check implements zapcore.Core.
func (b *bridge) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(entry.Level) {
		return checked.AddCore(entry, b)
	}
	return checked
}

// Write implements zapcore.Core.
func (b *bridge) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	allowed, dropped := b.limit.allow(entry.Message, entry.Time)
	if !allowed && entry.Level < zapcore.DPanicLevel {
		return nil
	}
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range b.fields {
		f.AddTo(enc)
	}
	for _, f := range fields {
		f.AddTo(enc)
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields)+2)
	attrs = append(attrs, slog.String("etcd", entry.Message))
	if dropped > 0 {
		attrs = append(attrs, slog.Int("suppressed", dropped))
	}
	for name, value := range enc.Fields {
		attrs = append(attrs, slog.Any(name, value))
	}
	b.log.LogAttrs(context.Background(), slogLevel(entry), "etcd says", attrs...)
	return nil
}

// Sync implements zapcore.Core.
func (b *bridge) Sync() error { return nil }

// expectedWarning knows the lines that etcd prints at a level above their worth on every start of a member set up as ours.
func expectedWarning(message string) bool {
	switch message {
	case "Running http and grpc server on single port. This is not recommended for production.",
		"simple token is not cryptographically signed":
		return true
	}
	return false
}

func slogLevel(entry zapcore.Entry) slog.Level {
	switch {
	case entry.Level >= zapcore.ErrorLevel:
		return slog.LevelError
	case entry.Level >= zapcore.WarnLevel && !expectedWarning(entry.Message):
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

// limiter counts messages in windows of bridgeWindow.
type limiter struct {
	mu     sync.Mutex
	start  time.Time
	counts map[string]int
}

// allow says whether the message may be written and how many of the same kind the last window kept back.
func (l *limiter) allow(message string, now time.Time) (ok bool, dropped int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.start) >= bridgeWindow {
		dropped = max(0, l.counts[message]-bridgeBurst)
		l.start = now
		clear(l.counts)
	}
	l.counts[message]++
	return l.counts[message] <= bridgeBurst, dropped
}
