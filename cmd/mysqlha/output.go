package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"go.yaml.in/yaml/v4"
)

// encode writes v as indented JSON, or as YAML with the same keys.
func encode(w io.Writer, format string, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	if format == "json" {
		_, err := w.Write(b.Bytes())
		return err
	}
	// JSON is YAML: read as nodes, keys keep their order and numbers their
	// digits.
	var document yaml.Node
	if err := yaml.Unmarshal(b.Bytes(), &document); err != nil {
		return err
	}
	plain(&document)
	text, err := yaml.Marshal(&document)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// plain takes JSON's braces and quotes off; what needs quotes gets them back.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plain(c)
	}
}

// painter colours a text, or leaves it as it is.
type painter func(colour, text string) string

// The colours, as terminals number them.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
)

// painterFor paints on a terminal only, and never against NO_COLOR.
func painterFor(w io.Writer) painter {
	f, isFile := w.(*os.File)
	if !isFile || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return colourless
	}
	if !isTerminal(f) {
		return colourless
	}
	return func(colour, text string) string { return "\x1b[" + colour + "m" + text + "\x1b[0m" }
}

func colourless(_, text string) string { return text }

// short is a duration as a tired person reads it: two digits that matter.
func short(d time.Duration) string {
	switch {
	case d < 0:
		return "0 ms"
	case d < 10*time.Second && d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}

// moment is a time with its zone.
func moment(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") }
