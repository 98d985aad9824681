package guard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// persistedFiles are where SET PERSIST keeps its variables. mysqld applies them
// *after* its command line, so they could undo the rules. The second is there
// after a death inside SET PERSIST, and then counts.
var persistedFiles = []string{"mysqld-auto.cnf", "mysqld-auto.cnf.backup"}

// checkPersisted refuses a data directory whose persisted variables would undo
// a rule. All of one file are named, with their lines.
func checkPersisted(dataDir string) error {
	for _, name := range persistedFiles {
		if err := checkPersistedFile(filepath.Join(dataDir, name)); err != nil {
			return err
		}
	}
	return nil
}

func checkPersistedFile(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("check the persisted variables: %w", err)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	faults, err := persistedFaults(text)
	if err != nil {
		return fmt.Errorf("check the persisted variables: %s: %w", path, err)
	}
	var all []error
	for _, f := range faults {
		all = append(all, fmt.Errorf(
			"%s:%d: %s=%s was persisted and would undo %s: remove the entry of %q from the file (RESET PERSIST does so on a running server)",
			path, f.line, f.name, f.value, f.rule.arg(), f.name))
	}
	if all != nil {
		return fmt.Errorf("mysqld is not started: %w", errors.Join(all...))
	}
	return nil
}

type persistedFault struct {
	line        int
	name, value string
	rule        rule
}

// persistedFaults looks at every object that is named like a ruled variable and
// has a Value, wherever it stands: the sections differ between versions.
func persistedFaults(text []byte) ([]persistedFault, error) {
	d := &persistedDecoder{text: text, Decoder: json.NewDecoder(bytes.NewReader(text))}
	if err := d.value("", 0, 1); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return d.faults, nil
}

type persistedDecoder struct {
	*json.Decoder
	text   []byte
	faults []persistedFault
}

// maxPersistedDepth is far beyond the four levels that mysqld writes.
const maxPersistedDepth = 32

// value reads one value, which belongs to the variable name at line.
func (d *persistedDecoder) value(name string, depth, line int) error {
	if depth > maxPersistedDepth {
		return errors.New("nested too deeply")
	}
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		return d.object(name, depth, line)
	case json.Delim('['):
		for d.More() {
			if err := d.value(name, depth+1, line); err != nil {
				return err
			}
		}
		_, err = d.Token()
		return err
	}
	d.check(name, fmt.Sprint(token), line)
	return nil
}

func (d *persistedDecoder) object(name string, depth, line int) error {
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		k, _ := key.(string) // The decoder lets only strings be keys.
		inner, at := k, 1+bytes.Count(d.text[:d.InputOffset()], []byte("\n"))
		switch k {
		case "Value":
			inner, at = name, line
		case "Metadata":
			inner = ""
		}
		if err := d.value(inner, depth+1, at); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

func (d *persistedDecoder) check(name, value string, line int) {
	plain := strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	for _, r := range rules() {
		if r.is(plain) && !r.allows(value) {
			d.faults = append(d.faults, persistedFault{line: line, name: name, value: value, rule: r})
		}
	}
}
