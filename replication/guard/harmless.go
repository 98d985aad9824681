package guard

import (
	"fmt"
	"slices"
	"strings"
)

// rule is a variable that must have one value when mysqld starts.
type rule struct {
	name string // as the server variable is written
	want string
	// plugin variables are unknown until their plugin is there.
	plugin bool
	// aliases are older names that set the same thing.
	aliases []string
}

// rules is what harmless means (S8).
func rules() []rule {
	return []rule{
		{name: "read_only", want: "ON"},
		{name: "super_read_only", want: "ON"},
		{name: "skip_replica_start", want: "ON", aliases: []string{"skip_slave_start"}},
		// ON throws away received transactions that were acknowledged.
		{name: "relay_log_recovery", want: "OFF"},
		{name: "rpl_semi_sync_source_enabled", want: "OFF", plugin: true, aliases: []string{"rpl_semi_sync_master_enabled"}},
		{name: "rpl_semi_sync_replica_enabled", want: "OFF", plugin: true, aliases: []string{"rpl_semi_sync_slave_enabled"}},
		// What crash recovery rolled back is told as a note (MY-013911).
		{name: "log_error_verbosity", want: "3"},
	}
}

func (r rule) arg() string { return r.argOf(r.name) }

func (r rule) argOf(name string) string {
	name = strings.ReplaceAll(name, "_", "-")
	if r.plugin {
		name = "loose-" + name
	}
	return "--" + name + "=" + r.want
}

// args are the rule as arguments. The older plugins have variables of their
// own, while an older name of a server variable is the variable itself.
func (r rule) args() []string {
	args := []string{r.arg()}
	if r.plugin {
		for _, alias := range r.aliases {
			args = append(args, r.argOf(alias))
		}
	}
	return args
}

func (r rule) is(name string) bool {
	return name == r.name || slices.Contains(r.aliases, name)
}

// allows compares a value as mysqld would read it.
func (r rule) allows(value string) bool {
	switch strings.ToUpper(value) {
	case "1", "ON", "TRUE", "YES":
		return r.want == "ON"
	case "0", "OFF", "FALSE", "NO":
		return r.want == "OFF"
	}
	return value == r.want
}

// refused are arguments under which there is no mysqld to guard, or under which
// what is appended would not be read; each with the reason.
func refused(name string) string {
	switch name {
	case "":
		return "ends the options, so that the guard's own would not be read"
	case "daemonize", "D":
		return "makes mysqld leave its parent"
	case "initialize", "initialize_insecure", "I":
		return "is the guard's own business"
	case "help", "?", "version", "V", "print_defaults", "validate_config":
		return "does not start a server"
	}
	return ""
}

// harmlessArgs returns the command line with the rules at its end, where they
// win over option files and over whatever stands before them.
func harmlessArgs(o Options) ([]string, error) {
	for _, arg := range o.Args[1:] {
		if err := checkArg(arg); err != nil {
			return nil, fmt.Errorf("start mysqld: argument %s %w", arg, err)
		}
	}
	args := slices.Clone(o.Args)
	for _, r := range rules() {
		args = append(args, r.args()...)
	}
	// One truth: what is checked and connected to is what mysqld uses.
	return append(args, "--datadir="+o.DataDir, "--socket="+o.Socket), nil
}

// checkArg refuses an argument that contradicts a rule. It would lose against
// the rule, and its author should know.
func checkArg(arg string) error {
	option, ok := strings.CutPrefix(arg, "-")
	if !ok {
		return nil
	}
	option, long := strings.CutPrefix(option, "-")
	name, value, hasValue := strings.Cut(option, "=")
	name = strings.ReplaceAll(name, "-", "_")
	if long {
		name = strings.ToLower(name)
	}
	if why := refused(name); why != "" {
		return fmt.Errorf("is not allowed: it %s", why)
	}
	name = strings.TrimPrefix(name, "loose_")
	if !hasValue {
		name, value = impliedValue(name)
	}
	for _, r := range rules() {
		if r.is(name) && !r.allows(value) {
			return fmt.Errorf("contradicts %s, without which mysqld would not start harmless: remove it", r.arg())
		}
	}
	return nil
}

// impliedValue reads a switch without a value. An option whose own name begins
// with skip_ is not a switched off one.
func impliedValue(name string) (string, string) {
	for _, r := range rules() {
		if r.is(name) {
			return name, "ON"
		}
	}
	for _, prefix := range []string{"skip_", "disable_"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return rest, "OFF"
		}
	}
	return strings.TrimPrefix(name, "enable_"), "ON"
}

// Contradicts returns the rule of the gate that a variable's value contradicts, as an
// argument; empty for none.
func Contradicts(variable, value string) string {
	name := strings.ToLower(strings.ReplaceAll(variable, "-", "_"))
	for _, r := range rules() {
		if r.is(name) && !r.allows(value) {
			return r.arg()
		}
	}
	return ""
}

// Overrides likewise returns the rule that an argument of mysqld, or a line of an
// option file written as one, contradicts.
func Overrides(option string) string {
	name, value, given := strings.Cut(strings.TrimLeft(option, "-"), "=")
	name = strings.TrimPrefix(strings.ToLower(strings.ReplaceAll(name, "-", "_")), "loose_")
	if !given {
		name, value = impliedValue(name)
	}
	if name == "log_error_verbosity" {
		return "" // What the gate reads from the log is its own affair.
	}
	return Contradicts(name, value)
}
