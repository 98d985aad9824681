package config

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// largest is the size in bytes beyond which a file is surely not ours.
const largest = 1 << 20

//go:embed testdata/three-hosts.yaml
var example string

// Example returns a commented configuration file for the first of three hosts.
func Example() string { return example }

// Load reads the file at path, applies the MYSQLHA_* variables in env (entries
// as in os.Environ), fills in defaults and checks the whole. A relative path
// inside the configuration is taken from the folder of the file. Any error is
// a Faults with everything that is wrong.
func Load(path string, env []string) (*Config, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	data, err := readFile(absolute)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return parse(path, filepath.Dir(absolute), data, env)
}

func unreadable(path string, err error) Faults {
	return Faults{{File: path, Problem: "cannot be read: " + reason(err), Remedy: "name a readable configuration file"}}
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, largest+1))
	if err == nil && len(data) > largest {
		err = fmt.Errorf("larger than %d KiB", largest>>10)
	}
	return data, err
}

// parse does the work of Load on the content of the file; dir is the folder
// that relative paths start from.
func parse(file, dir string, data []byte, env []string) (*Config, error) {
	r := &reader{file: file, cfg: defaults(), at: map[string]origin{}, bad: map[string]bool{}}
	readable := r.document(data, r.cfg)
	r.environment(env)
	// Checks on a file that was not understood would only report its fields
	// as missing.
	if readable {
		r.derive(dir)
		r.check()
	}
	if len(r.faults) > 0 {
		r.faults.sort()
		return nil, r.faults
	}
	return r.cfg, nil
}

// document reads the one document of a file into a struct.
func (r *reader) document(data []byte, into any) bool {
	root, err := oneDocument(data)
	var more secondDocument
	switch {
	case errors.Is(err, io.EOF):
		r.faultAt(1, "", "holds nothing", "begin with a line such as `cluster: shop`")
		return false
	case errors.As(err, &more):
		r.faultAt(int(more), "", "begins a second document", "keep one document for each file")
		return false
	case err != nil:
		r.syntax(err)
		return false
	}
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		root = root.Content[0]
	}
	if root.Kind != yaml.MappingNode {
		r.faultAt(max(1, root.Line), "", "is not a section of keys", "begin with a line such as `cluster: shop`")
		return false
	}
	r.at[""] = origin{r.file, 1}
	r.section(root, reflect.ValueOf(into).Elem(), "")
	return true
}

// secondDocument is the line on which a second document begins.
type secondDocument int

func (s secondDocument) Error() string { return fmt.Sprintf("second document on line %d", int(s)) }

// oneDocument returns the only document of a file, io.EOF when there is none.
func oneDocument(data []byte) (*yaml.Node, error) {
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var document, second yaml.Node
	if err := loader.Load(&document); err != nil {
		return nil, err
	}
	if err := loader.Load(&second); !errors.Is(err, io.EOF) {
		if err == nil {
			err = secondDocument(max(1, second.Line))
		}
		return nil, err
	}
	return &document, nil
}

func (r *reader) syntax(err error) {
	line, message := 1, err.Error()
	var one *yaml.LoadError
	if errors.As(err, &one) {
		line = max(1, one.Mark.Line)
		message = strings.TrimPrefix(one.Message, "yaml: ")
		if one.ContextMsg != "" {
			message += " " + one.ContextMsg
		}
	}
	r.faultAt(line, "", "is not YAML: "+strings.Join(strings.Fields(message), " "),
		"mend the line or the one above it; indent with spaces")
}

// derive fills in the defaults that follow from other fields and makes paths
// absolute.
func (r *reader) derive(dir string) {
	c := r.cfg
	for _, p := range []*string{
		&c.DataDir, &c.MySQL.Socket, &c.MySQL.ControlPasswordFile, &c.MySQL.RunFile, &c.MySQL.DataDir,
		&c.TLS.CA, &c.TLS.Cert, &c.TLS.Key, &c.API.TokensFile,
	} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for i := range c.Hooks {
		h := &c.Hooks[i]
		for _, p := range []*string{&h.TokenFile, &h.CA} {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(dir, *p)
			}
		}
		if h.Timeout == 0 {
			h.Timeout = 10 * time.Second
		}
		if !r.given(fmt.Sprintf("hooks[%d].tries", i)) {
			h.Tries = 5
		}
	}
	if !r.given("mysql.control_password_file") {
		c.MySQL.ControlPasswordFile = filepath.Join(c.DataDir, "control.password")
	}
	if !r.given("mysql.run_file") {
		c.MySQL.RunFile = filepath.Join(c.DataDir, "mysqld.json")
	}
}

// reason is the innermost text of an error of the file system, without the
// path, which the message around it names already.
func reason(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
