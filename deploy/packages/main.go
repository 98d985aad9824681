// Command packages builds the packages of mysqlha for Debian and for systems with rpm.
// What goes where stands in layout.go, and nowhere else. The same commit gives the same
// bytes, whoever builds it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "packages: %v\n", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	root     string    // the folder of the source
	out      string    // where the packages go
	describe string    // the version as git describes it
	when     time.Time // when the commit was made: the time of all that is in a package
	arches   []string
	compile  func(ctx context.Context, o options, into, arch string) error
}

// run builds all packages and prints their paths.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("packages", flag.ContinueOnError)
	o := options{compile: compile}
	flags.StringVar(&o.root, "root", ".", "the `folder` of the source")
	flags.StringVar(&o.out, "out", "bin/packages", "the `folder` for the packages")
	flags.StringVar(&o.describe, "version", "", "the version, as git describe --tags --always --dirty tells it")
	arches := flags.String("arch", "amd64,arm64", "the architectures, in Go's words")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || o.describe == "" {
		return errors.New("-version is needed, and there are no arguments")
	}
	o.arches = strings.Split(*arches, ",")
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return errors.New("SOURCE_DATE_EPOCH must be the time of the commit, in seconds: git log -1 --format=%ct")
	}
	o.when = time.Unix(epoch, 0).UTC()

	made, err := build(ctx, o)
	if err != nil {
		return err
	}
	for _, path := range made {
		fmt.Fprintln(stdout, path)
	}
	return nil
}

// build makes the packages of every architecture and returns their paths.
func build(ctx context.Context, o options) ([]string, error) {
	v, err := parseVersion(o.describe, o.when)
	if err != nil {
		return nil, err
	}
	stage, err := os.MkdirTemp("", "mysqlha-packages-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(stage)
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return nil, err
	}
	arches := slices.Clone(o.arches)
	if !slices.Contains(arches, runtime.GOARCH) {
		arches = append(arches, runtime.GOARCH) // for what only a program that runs can tell
	}
	for _, arch := range arches {
		if err := o.compile(ctx, o, filepath.Join(stage, arch), arch); err != nil {
			return nil, err
		}
	}
	if err := texts(ctx, o, v, stage); err != nil {
		return nil, err
	}
	var made []string
	for _, arch := range o.arches {
		for _, p := range layout() {
			for _, format := range []string{"deb", "rpm"} {
				path, err := pack(o, v, stage, arch, format, p)
				if err != nil {
					return nil, fmt.Errorf("%s for %s as %s: %w", p.name, arch, format, err)
				}
				made = append(made, path)
			}
		}
	}
	return made, nil
}
