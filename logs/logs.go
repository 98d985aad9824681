// Package logs owns how the lines of a daemon look: their format, the names of their
// events, and what the journal of systemd needs. Whoever logs is handed a [slog.Logger] and
// knows nothing of it; only cmd imports this package.
package logs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lmittmann/tint"
)

// Options are what the configuration says of the log.
type Options struct {
	// Level is debug, info, warn or error; anything else is info.
	Level string
	// Format is text, json, or auto for text on a terminal and json elsewhere.
	Format string
}

// New returns a logger that writes to out. Each line of a message of the catalogue has the
// event's name. Where out is the journal, each begins with its priority and has no time of
// its own, since the journal notes one.
func New(o Options, out io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.Level)); err != nil {
		level = slog.LevelInfo
	}
	h := &handler{names: make(map[string]string)}
	for _, e := range Events() {
		h.names[e.Message] = e.Name
	}
	journal := isJournal(out)
	if journal {
		h.journal = &prioritised{out: out}
		out = h.journal
	}
	if o.Format == "text" || o.Format == "auto" && isTerminal(out) {
		h.Handler = tint.NewTextHandler(out, &tint.Options{Level: level, TimeFormat: "15:04:05.000", NoColor: journal || os.Getenv("NO_COLOR") != ""})
	} else {
		h.Handler = slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level, ReplaceAttr: readable})
	}
	return slog.New(h)
}

// readable writes durations in JSON as 1.5s, not as nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// Complain writes what is no line of the log, because it ends the program, to out, which may
// be the journal.
func Complain(out io.Writer, text string) {
	prefix := ""
	if isJournal(out) {
		prefix = priority(slog.LevelError)
	}
	for line := range strings.Lines(text) {
		fmt.Fprintf(out, "%s%s\n", prefix, strings.TrimSuffix(line, "\n"))
	}
}

// handler adds to each line what its message does not say.
type handler struct {
	slog.Handler
	// names are those of the events, by message.
	names map[string]string
	// journal is where the lines go, nil for elsewhere.
	journal *prioritised
}

// Handle implements [slog.Handler].
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	at := r.Time
	if h.journal != nil {
		at = time.Time{} // Handlers leave it out then.
		h.journal.Lock()
		defer h.journal.Unlock()
		h.journal.prefix = priority(r.Level)
	}
	named := slog.NewRecord(at, r.Level, r.Message, r.PC)
	if name, ok := h.names[r.Message]; ok {
		named.AddAttrs(slog.String("event", name))
	}
	r.Attrs(func(a slog.Attr) bool {
		named.AddAttrs(a)
		return true
	})
	return h.Handler.Handle(ctx, named)
}

// WithAttrs implements [slog.Handler].
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.Handler.WithAttrs(attrs), h.names, h.journal}
}

// WithGroup implements [slog.Handler].
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.Handler.WithGroup(name), h.names, h.journal}
}

// prioritised writes each line with its priority to the journal, as sd-daemon(3) has it.
type prioritised struct {
	sync.Mutex
	out    io.Writer
	prefix string
}

// Write takes one line: the handlers write each at once, under the lock.
func (p *prioritised) Write(line []byte) (int, error) {
	if _, err := p.out.Write(append([]byte(p.prefix), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// priority is how a line of that level begins in the journal.
func priority(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "<3>"
	case level >= slog.LevelWarn:
		return "<4>"
	case level >= slog.LevelInfo:
		return "<6>"
	default:
		return "<7>"
	}
}

// isJournal tells whether out is the stream to the journal that systemd has given this
// process. The variable is inherited by those whose output goes elsewhere.
func isJournal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
