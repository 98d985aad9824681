package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// compile builds both programs for an architecture into a folder. They have no symbols and
// no path of this machine, and no C library either, so that they run on any distribution.
func compile(ctx context.Context, o options, into, arch string) error {
	_, err := command(ctx, o.root, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch},
		"go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid= -X main.version="+o.describe, "-o", into+string(filepath.Separator), "./cmd/mysqlha", "./cmd/mysqlhad")
	return err
}

// texts makes what is neither in the source nor a program: manuals, completions, presets,
// changelogs and the licences of others.
func texts(ctx context.Context, o options, version, stage string) error {
	write := func(name string, text []byte) error {
		return os.WriteFile(filepath.Join(stage, name), text, 0o644)
	}
	for _, made := range []struct {
		name    string
		program string
		args    []string
		shape   func([]byte) ([]byte, error)
	}{
		{"mysqlha.8.gz", "mysqlha", []string{"man"}, compressed},
		{"mysqlhad.8.gz", "mysqlhad", []string{"man"}, compressed},
		{"completion.bash", "mysqlha", []string{"completion", "bash"}, nil},
		{"completion.zsh", "mysqlha", []string{"completion", "zsh"}, autoloaded},
		{"completion.fish", "mysqlha", []string{"completion", "fish"}, nil},
	} {
		text, err := command(ctx, o.root, nil, filepath.Join(stage, runtime.GOARCH, made.program), made.args...)
		if err == nil && made.shape != nil {
			text, err = made.shape(text)
		}
		if err == nil {
			err = write(made.name, text)
		}
		if err != nil {
			return err
		}
	}
	changes, err := os.ReadFile(filepath.Join(o.root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	if changes, err = compressed(changes); err != nil {
		return err
	}
	if err := write("changelog.gz", changes); err != nil {
		return err
	}
	for _, p := range layout() {
		entry, err := compressed(fmt.Appendf(nil, "%s (%s-%s) unstable; urgency=medium\n\n  * What has changed is in changelog.gz.\n\n -- %s  %s\n",
			p.name, version, release, maintainer, o.when.Format(time.RFC1123Z)))
		if err != nil {
			return err
		}
		if err := write(p.name+".changelog.Debian.gz", entry); err != nil {
			return err
		}
		preset := "# Nothing starts by itself: all of it needs a configuration first.\n"
		for _, unit := range p.units {
			preset += "disable " + unit + "\n"
		}
		if err := write(p.name+".preset", []byte(preset)); err != nil {
			return err
		}
		all, err := licences(ctx, o.root, p.name)
		if err != nil {
			return err
		}
		if err := write(p.name+".licences.gz", all); err != nil {
			return err
		}
	}
	return nil
}

// autoloaded makes a file that zsh finds by its name of a script that is to be sourced: the
// first completion must answer as well.
func autoloaded(script []byte) ([]byte, error) {
	return []byte("#compdef mysqlha\n" + string(script) + `[[ ${funcstack[1]} != _mysqlha ]] || _mysqlha "$@"` + "\n"), nil
}

// licences are those of the modules that a program is linked with: all of them ask for it.
func licences(ctx context.Context, root, program string) ([]byte, error) {
	listed, err := command(ctx, root, []string{"CGO_ENABLED=0", "GOOS=linux"}, "go", "list", "-deps", "-f",
		"{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}\t{{.Dir}}{{end}}{{end}}", "./cmd/"+program)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(string(listed)), "\n")
	slices.Sort(lines)
	lines = slices.Compact(lines)
	// Go's own licence is that of its modules; a distribution's Go does not have the file.
	i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "golang.org/x/sys ") })
	if i < 0 {
		return nil, fmt.Errorf("%s is not linked with golang.org/x/sys, whose licence stands for Go's", program)
	}
	_, dir, _ := strings.Cut(lines[i], "\t")
	lines = append([]string{"The library of Go\t" + dir}, lines...)
	var out bytes.Buffer
	for _, line := range lines {
		name, dir, of := strings.Cut(line, "\t")
		if !of {
			continue // a package of the standard library, or of this module
		}
		texts, err := licenceFiles(dir)
		if err != nil {
			return nil, err
		}
		if len(texts) == 0 {
			return nil, fmt.Errorf("the module %s has no licence", name)
		}
		for _, path := range texts {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&out, "%s\n%s, %s\n%s\n\n%s\n", strings.Repeat("=", 78), name, filepath.Base(path), strings.Repeat("=", 78), bytes.TrimSpace(text))
		}
	}
	return compressed(out.Bytes())
}

// licenceFiles are the licences and notices at the top of a module.
func licenceFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if !e.IsDir() && slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	return found, nil
}

// compressed is what gzip -9n would make.
func compressed(text []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// command runs a program and returns what it prints.
func command(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var wrong bytes.Buffer
	cmd.Stderr = &wrong
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, wrong.Bytes())
	}
	return out, nil
}
