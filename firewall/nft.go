package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// replacing empties the table, whether it is there or not.
const replacing = "table inet " + Table + " {\n}\ndelete table inet " + Table + "\n"

// list prints the table without what changes by itself.
var list = []string{"-s", "list", "table", "inet", Table}

// Load has the kernel take rules in one transaction: all of them, or none and an error.
func Load(ctx context.Context, rules string) error {
	if _, err := run(ctx, nil, rules, "nft", "-f", "-"); err != nil {
		return fmt.Errorf("loading the rules of the firewall: %w", err)
	}
	return nil
}

// Loaded returns our rules as the kernel has them, empty for none.
func Loaded(ctx context.Context) (string, error) {
	tables, err := run(ctx, nil, "", "nft", "list", "tables", "inet")
	if err == nil && !slices.Contains(strings.Split(strings.TrimSpace(tables), "\n"), "table inet "+Table) {
		return "", nil
	}
	var text string
	if err == nil {
		text, err = run(ctx, nil, "", "nft", list...)
	}
	if err != nil {
		return "", fmt.Errorf("reading the rules of the firewall: %w", err)
	}
	return withoutVisitors(text), nil
}

// Snapshot returns rules that bring back what is loaded now, be it nothing.
func Snapshot(ctx context.Context) (string, error) {
	loaded, err := Loaded(ctx)
	return replacing + loaded, err
}

// Canonical returns rules as the kernel would show them, without loading them where they
// would have an effect: it does so in a network of its own.
func Canonical(ctx context.Context, rules string) (string, error) {
	alone := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	text, err := run(ctx, alone, rules, "sh", "-c", "nft -f - && nft "+strings.Join(list, " "))
	if err != nil {
		return "", fmt.Errorf("trying the rules of the firewall: %w", err)
	}
	return withoutVisitors(text), nil
}

// run runs a program with an input and returns its output; its errors are in the error.
func run(ctx context.Context, how *syscall.SysProcAttr, input, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = how
	cmd.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("there is no program %s: install the package nftables", name)
	case errors.Is(err, syscall.EPERM), err != nil && strings.Contains(errs.String(), "Operation not permitted"):
		return "", errors.New("only root, or who has CAP_NET_ADMIN, may look at the firewall and change it")
	case err != nil:
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// withoutVisitors takes out who is in the sets that the kernel itself fills.
func withoutVisitors(text string) string {
	var b strings.Builder
	dynamic, inElements := false, false
	for line := range strings.Lines(text) {
		plain := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(plain, "set "):
			dynamic = false
		case strings.HasPrefix(plain, "flags dynamic"):
			dynamic = true
		case dynamic && strings.HasPrefix(plain, "elements = "):
			inElements = true
		}
		if !inElements {
			b.WriteString(line)
		}
		if inElements && strings.HasSuffix(plain, "}") {
			inElements = false
		}
	}
	return b.String()
}

// Compare returns what is loaded otherwise than rules say, and whether anything is.
func Compare(ctx context.Context, rules string) (missing, surplus []string, any bool, err error) {
	wanted, err := Canonical(ctx, rules)
	if err != nil {
		return nil, nil, false, err
	}
	loaded, err := Loaded(ctx)
	if err != nil {
		return nil, nil, false, err
	}
	missing, surplus = Difference(wanted, loaded)
	return missing, surplus, loaded != "", nil
}

// Difference is what is loaded otherwise than it should be, line by line; none where all
// is as it should be.
func Difference(wanted, loaded string) (missing, surplus []string) {
	count := make(map[string]int)
	chain := ""
	each := func(text string, by int) {
		for line := range strings.Lines(text) {
			plain := strings.TrimSpace(line)
			if strings.HasPrefix(plain, "chain ") || strings.HasPrefix(plain, "set ") {
				chain = strings.TrimSuffix(plain, " {")
			}
			if plain != "" && plain != "}" {
				count[chain+": "+plain] += by
			}
		}
		chain = ""
	}
	each(wanted, 1)
	each(loaded, -1)
	for line, n := range count {
		for range n {
			missing = append(missing, line)
		}
		for range -n {
			surplus = append(surplus, line)
		}
	}
	slices.Sort(missing)
	slices.Sort(surplus)
	return missing, surplus
}
