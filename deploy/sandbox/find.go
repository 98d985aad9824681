package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// versionTimeout bounds asking a program for its version.
const versionTimeout = 30 * time.Second

// ErrNoMySQLD is in the chain of an error when there is no usable mysqld.
var ErrNoMySQLD = errors.New("no MySQL 8.4 or newer was found: run `make mysqld`, install MySQL, or name a mysqld with --mysqld or MYSQLD")

func (o *Options) findPrograms() error {
	if o.Mysqlha == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding mysqlha: %w", err)
		}
		o.Mysqlha = self
	}
	if o.Mysqlhad == "" {
		o.Mysqlhad = filepath.Join(filepath.Dir(o.Mysqlha), "mysqlhad")
	}
	for _, p := range []*string{&o.Mysqlha, &o.Mysqlhad} {
		found, err := exec.LookPath(*p)
		if err != nil {
			return fmt.Errorf("finding %s: %w; name it with --mysqlhad or install it beside mysqlha", filepath.Base(*p), err)
		}
		if *p, err = filepath.Abs(found); err != nil {
			return fmt.Errorf("finding %s: %w", found, err)
		}
	}
	var err error
	o.MySQLD, err = FindMySQLD(o.MySQLD)
	return err
}

// FindMySQLD returns the path of a mysqld of MySQL 8.4 or newer: the one named,
// else the one that MYSQLD names, else the one on PATH, else the newest that
// was fetched into $XDG_CACHE_HOME/mysqlha/mysqld. One that was named on purpose
// is used or refused, never replaced. Its error wraps ErrNoMySQLD when there is
// none.
func FindMySQLD(named string) (string, error) {
	if named == "" {
		named = os.Getenv("MYSQLD")
	}
	if named != "" {
		path, err := exec.LookPath(named)
		if err == nil {
			err = usable(path)
		}
		if err != nil {
			return "", fmt.Errorf("using mysqld %s: %w", named, err)
		}
		return filepath.Abs(path)
	}
	if path, err := exec.LookPath("mysqld"); err == nil && usable(path) == nil {
		return filepath.Abs(path)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", ErrNoMySQLD // Without a home there is no cache either.
	}
	fetched, err := filepath.Glob(filepath.Join(cache, "mysqlha", "mysqld", "*", "bin", "mysqld"))
	if err != nil {
		return "", fmt.Errorf("looking for a fetched mysqld: %w", err)
	}
	slices.SortFunc(fetched, newestFirst)
	for _, path := range fetched {
		if usable(path) == nil {
			return path, nil
		}
	}
	return "", ErrNoMySQLD
}

var (
	numbers = regexp.MustCompile(`[0-9]+`)
	version = regexp.MustCompile(`Ver ([0-9]+)\.([0-9]+)`)
)

// newestFirst compares the numbers in two paths, so that 10.1 is newer than 9.7.
func newestFirst(a, b string) int {
	value := func(path string) (all []int) {
		for _, n := range numbers.FindAllString(path, -1) {
			i, err := strconv.Atoi(n)
			if err != nil {
				i = 0 // Too long a number is no version.
			}
			all = append(all, i)
		}
		return all
	}
	return slices.Compare(value(b), value(a))
}

// usable says why a program is no mysqld of ours, nil if it is one.
func usable(path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), versionTimeout)
	defer cancel()
	// A my.cnf of this machine must not decide whether the version can be read.
	out, err := exec.CommandContext(ctx, path, "--no-defaults", "--version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("asking for its version: %w", err)
	}
	return usableVersion(string(out))
}

func usableVersion(text string) error {
	if strings.Contains(strings.ToLower(text), "mariadb") {
		return errors.New("it is MariaDB, not MySQL")
	}
	found := version.FindStringSubmatch(text)
	if found == nil {
		return fmt.Errorf("it does not tell a MySQL version: %.100q", text)
	}
	major, errMajor := strconv.Atoi(found[1])
	minor, errMinor := strconv.Atoi(found[2])
	if errMajor != nil || errMinor != nil || major < 8 || major == 8 && minor < 4 {
		return fmt.Errorf("it is MySQL %s.%s, older than 8.4", found[1], found[2])
	}
	return nil
}
