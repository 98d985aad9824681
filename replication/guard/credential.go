package guard

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// credential returns whom to start mysqld as, nil for the guard's own user. A
// mysqld that is started by root and changes its user itself loses the parent
// death signal by that (prctl(2)), so the guard changes it at the fork.
func credential(args []string) (*syscall.Credential, error) {
	name, given := userArg(args)
	if os.Geteuid() != 0 {
		return nil, nil
	}
	if !given {
		return nil, errors.New("start mysqld as root: give --user=NAME on the command line, not in an option file")
	}
	if name == "root" || name == "0" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fmt.Errorf("start mysqld as user %s: %w", name, err)
		}
	}
	return idsOf(u)
}

// userArg returns the last --user of the arguments.
func userArg(args []string) (name string, given bool) {
	for i, arg := range args[1:] {
		switch {
		case strings.HasPrefix(arg, "--user="):
			name, given = strings.TrimPrefix(arg, "--user="), true
		case (arg == "--user" || arg == "-u") && i+2 < len(args):
			name, given = args[i+2], true
		}
	}
	return name, given
}

func idsOf(u *user.User) (*syscall.Credential, error) {
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("read the groups of user %s: %w", u.Username, err)
	}
	ids := make([]uint32, 0, len(groups)+2)
	for _, id := range append([]string{u.Uid, u.Gid}, groups...) {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("read the ids of user %s: %w", u.Username, err)
		}
		ids = append(ids, uint32(n))
	}
	return &syscall.Credential{Uid: ids[0], Gid: ids[1], Groups: ids[2:]}, nil
}

// checkOwner finds out whether mysqld has changed its user although it was
// told its own; it would outlive a dead guard.
func (c *child) checkOwner() error {
	if c.attached {
		return nil // It outlives the guard anyway.
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(c.run.PID) + "/status")
	if err != nil {
		return nil // Gone; the parent goroutine sees it.
	}
	for line := range strings.Lines(string(text)) {
		ids, ok := strings.CutPrefix(line, "Uid:")
		if !ok {
			continue
		}
		f := strings.Fields(ids)
		if len(f) > 1 && f[1] != strconv.FormatUint(uint64(c.uid), 10) {
			return fmt.Errorf("mysqld changed its user to %s and would outlive the guard: give --user on the command line", f[1])
		}
	}
	return nil
}

// credUID returns the user to hand a file to, or -1 for nobody.
func credUID(cred *syscall.Credential) int {
	if cred == nil {
		return -1
	}
	return int(cred.Uid)
}
