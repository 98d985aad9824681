package config

import (
	"reflect"
	"slices"
	"strings"
)

// prefix begins every environment variable that concerns the configuration.
const prefix = "MYSQLHA_"

// toolVariables returns the variables of the command line tools, which share
// the prefix but say nothing about a host's configuration.
func toolVariables() []string {
	return []string{"MYSQLHA_CACHE", "MYSQLHA_CONFIG", "MYSQLHA_CONTEXT", "MYSQLHA_ENDPOINTS"}
}

// Variables returns the names of all environment variables that override a
// field, in the order of the fields.
func Variables() []string {
	var names []string
	for _, o := range overrides(reflect.ValueOf(defaults()).Elem(), "") {
		if o.field.Kind() != reflect.Slice {
			names = append(names, o.name)
		}
	}
	return names
}

// override is one field as the environment knows it.
type override struct {
	name, path string
	field      reflect.Value
}

func overrides(v reflect.Value, path string) []override {
	var all []override
	fields, keys := fieldsOf(v)
	for _, key := range keys {
		full := join(path, key)
		if fields[key].Kind() == reflect.Struct {
			all = append(all, overrides(fields[key], full)...)
			continue
		}
		name := prefix + strings.ToUpper(strings.ReplaceAll(full, ".", "_"))
		all = append(all, override{name, full, fields[key]})
	}
	return all
}

// environment applies the overrides in env, whose entries are NAME=value; of
// two entries with one name the later counts, as for a process.
func (r *reader) environment(env []string) {
	values, names := map[string]string{}, []string{}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, prefix) || slices.Contains(toolVariables(), name) {
			continue
		}
		if _, again := values[name]; !again {
			names = append(names, name)
		}
		values[name] = value
	}
	slices.Sort(names)
	all := overrides(reflect.ValueOf(r.cfg).Elem(), "")
	for _, name := range names {
		i := slices.IndexFunc(all, func(o override) bool { return o.name == name })
		if i < 0 {
			r.unknownVariable(name)
			continue
		}
		r.override(all[i], values[name])
	}
}

func (r *reader) override(o override, text string) {
	if o.field.Kind() == reflect.Slice {
		r.faults = append(r.faults, Fault{File: "environment variable " + o.name, Field: o.path,
			Problem: "is a list, which a variable cannot carry", Remedy: "set it in the file"})
		return
	}
	from := origin{file: "environment variable " + o.name}
	for p := parent(o.path); p != "" && !r.given(p); p = parent(p) {
		r.at[p] = from
	}
	// The variable's value is what counts and is checked from here on. A fault
	// that the file's own value had stays reported.
	r.at[o.path] = from
	delete(r.bad, o.path)
	if problem, remedy := setScalar(o.field, text); problem != "" {
		r.fault(o.path, problem, remedy)
	}
}

func (r *reader) unknownVariable(name string) {
	known := Variables()
	remedy := "unset it; mysqlhad reads " + prefix + "<FIELD> for single values of the file, such as " + prefix + "API_LISTEN"
	if slices.Contains(known, name+"_FILE") {
		remedy = "secrets come from files only: set " + name + "_FILE"
	} else if k := nearest(strings.TrimPrefix(name, prefix), trimmed(known)); k != "" {
		remedy = "did you mean " + prefix + k + "?"
	}
	if len(name) > 100 || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c > '~' }) {
		name = shown(name)
	}
	r.faults = append(r.faults, Fault{File: "environment", Field: name, Problem: "is not a known variable", Remedy: remedy})
}

func trimmed(names []string) []string {
	short := make([]string, len(names))
	for i, n := range names {
		short[i] = strings.TrimPrefix(n, prefix)
	}
	return short
}
