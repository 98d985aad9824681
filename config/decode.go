package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// longest is the upper bound of every duration: anything above is a slip of
// the unit, and the bound keeps products of durations from overflowing.
const longest = 24 * time.Hour

var durationType = reflect.TypeFor[time.Duration]()

// origin is where a value was written.
type origin struct {
	file string
	line int
}

// reader collects values, where they came from, and faults. It lives for one
// Load.
type reader struct {
	file   string
	cfg    *Config
	faults Faults
	// at holds the origin of each path that was given, sections included.
	at map[string]origin
	// bad holds the paths that already have a fault: checks that would need
	// their value stay silent, so that one slip is reported once.
	bad map[string]bool
}

// fault reports a fault of the field where it was written; for a field that
// was not given, at the section that lacks it.
func (r *reader) fault(path, problem, remedy string) {
	o := r.origin(path)
	r.faults = append(r.faults, Fault{File: o.file, Line: o.line, Field: path, Problem: problem, Remedy: remedy})
	r.bad[path] = true
}

func (r *reader) faultAt(line int, path, problem, remedy string) {
	r.faults = append(r.faults, Fault{File: r.file, Line: line, Field: path, Problem: problem, Remedy: remedy})
	r.bad[path] = true
}

func (r *reader) origin(path string) origin {
	for p := path; p != ""; p = parent(p) {
		if o, found := r.at[p]; found {
			return o
		}
	}
	if o, found := r.at[""]; found {
		return o
	}
	return origin{r.file, 1}
}

// sound tells whether the values at the paths can be used in a check.
func (r *reader) sound(paths ...string) bool {
	for _, path := range paths {
		for p := path; p != ""; p = parent(p) {
			if r.bad[p] {
				return false
			}
		}
	}
	return true
}

func (r *reader) given(path string) bool {
	_, found := r.at[path]
	return found
}

func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// value decodes one node into v, which is settable.
func (r *reader) value(n *yaml.Node, v reflect.Value, path string) {
	if _, found := r.at[path]; !found {
		r.at[path] = origin{r.file, n.Line}
	}
	switch {
	case n.Kind == yaml.AliasNode:
		r.faultAt(n.Line, path, "is an alias (*"+n.Value+")", "write the value out: anchors and aliases are not followed")
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		r.faultAt(n.Line, path, "has no value", "give it one, or remove the key to have the default")
	case v.Kind() == reflect.Struct:
		if r.kind(n, yaml.MappingNode, path, "a section of keys") {
			r.section(n, v, path)
		}
	case v.Kind() == reflect.Slice:
		if r.kind(n, yaml.SequenceNode, path, "a list") {
			r.list(n, v, path)
		}
	default:
		if r.kind(n, yaml.ScalarNode, path, "a single value") {
			r.scalarNode(n, v, path)
		}
	}
}

func (r *reader) kind(n *yaml.Node, want yaml.Kind, path, words string) bool {
	if n.Kind == want {
		return true
	}
	found := map[yaml.Kind]string{yaml.MappingNode: "a section of keys", yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value"}[n.Kind]
	r.faultAt(n.Line, path, "is "+found, "write "+words)
	return false
}

func (r *reader) section(n *yaml.Node, v reflect.Value, path string) {
	fields, keys := fieldsOf(v)
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		full := join(path, keyText(key))
		field, known := fields[key.Value]
		first, again := seen[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !known:
			r.faultAt(key.Line, full, "is not a known key", didYouMean(key.Value, keys))
		case again:
			r.faultAt(key.Line, full, fmt.Sprintf("is given again, first on line %d", first), "keep one of the two")
		default:
			seen[key.Value] = key.Line
			r.at[full] = origin{r.file, key.Line}
			r.value(value, field, full)
		}
	}
}

// fieldsOf returns the fields of a section by key, and the keys in order.
func fieldsOf(v reflect.Value) (map[string]reflect.Value, []string) {
	fields, keys := map[string]reflect.Value{}, []string{}
	for i := range v.NumField() {
		if key := v.Type().Field(i).Tag.Get("yaml"); key != "" {
			fields[key] = v.Field(i)
			keys = append(keys, key)
		}
	}
	return fields, keys
}

// keyText is a key as it may stand in a path: quoted unless it is plain, for a
// fault must stay on one line.
func keyText(key *yaml.Node) string {
	plain := func(c rune) bool {
		return c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	if key.Kind == yaml.ScalarNode && key.Value != "" && len(key.Value) <= 60 &&
		strings.IndexFunc(key.Value, func(c rune) bool { return !plain(c) }) < 0 {
		return key.Value
	}
	return shown(key.Value)
}

func (r *reader) list(n *yaml.Node, v reflect.Value, path string) {
	if len(n.Content) == 0 {
		r.faultAt(n.Line, path, "is an empty list", "give it an entry, or remove the key")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		r.value(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

// scalarNode refuses what only YAML's guessing would make fit, such as a
// number for a text, before it sets the field.
func (r *reader) scalarNode(n *yaml.Node, v reflect.Value, path string) {
	if v.Kind() == reflect.String && n.ShortTag() != "!!str" {
		r.faultAt(n.Line, path, fmt.Sprintf("is %s, which YAML does not read as a text", shown(n.Value)), "put it in quotes")
		return
	}
	if (v.Kind() == reflect.Bool || v.Kind() == reflect.Int) && n.ShortTag() == "!!str" {
		r.faultAt(n.Line, path, "is the text "+shown(n.Value), wanted(v))
		return
	}
	if problem, remedy := setScalar(v, n.Value); problem != "" {
		r.faultAt(n.Line, path, problem, remedy)
	}
}

// wanted is the remedy for a value of the wrong type.
func wanted(v reflect.Value) string {
	switch {
	case v.Type() == durationType:
		return "write a duration with its unit, such as 250ms, 2s or 1m"
	case v.Kind() == reflect.Int:
		return "write a whole number without quotes"
	case v.Kind() == reflect.Bool:
		return "write true or false without quotes"
	default:
		return "write a text"
	}
}

// setScalar sets a field from its text in the file or the environment, or
// returns what is wrong with the text and what would be right.
func setScalar(v reflect.Value, text string) (problem, remedy string) {
	switch {
	case text == "":
		return "is empty", "give it a value, or leave it out to have the default"
	case v.Type() == durationType:
		return setDuration(v, text)
	case v.Kind() == reflect.Int:
		i, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return "is " + shown(text) + ", not a whole number in range", "write a whole number without quotes"
		}
		v.SetInt(i)
	case v.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return "is " + shown(text) + ", neither true nor false", "write true or false without quotes"
		}
		v.SetBool(text == "true")
	default:
		v.SetString(text)
	}
	return "", ""
}

func setDuration(v reflect.Value, text string) (problem, remedy string) {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return "is " + shown(text) + ", not a duration", wanted(v)
	case d <= 0:
		return "is " + shown(text) + ", not a time that can pass", "write a duration above zero, such as 250ms, 2s or 1m"
	case d > longest:
		return "is " + shown(text) + ", longer than a day", "check the unit and write a duration of at most 24h"
	}
	v.SetInt(int64(d))
	return "", ""
}
