package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

const (
	socketPluginFile = "auth_socket.so"
	// initSuffix names the file of statements beside the file that it is made
	// for; it exists only while mysqld reads it.
	initSuffix = ".init.sql"
)

// InitOptions say what to initialise.
type InitOptions struct {
	// Args are the program mysqld and its arguments, as for [Run].
	Args []string
	// DataDir is the data directory; it overrides the option files.
	DataDir string
	// User is the name of the control account.
	User string
	// PasswordFile is where its password is, or will be, kept.
	PasswordFile string
	// Logger gets the guard's own messages.
	Logger *slog.Logger
	// Output gets what mysqld writes; nil means the guard's standard error.
	Output *os.File
}

// Initialise makes a new server in an empty or absent data directory: the
// control account with all it needs, its generated password in the password
// file (0600), and a root@localhost that only the operating system's root user
// can use (rootSQL says more). Nothing of it is in gtid_executed.
//
// It returns false when the directory already holds a server whose control
// password is there, and refuses one that has none: such a server belongs to
// somebody. ctx kills mysqld; the directory must then be emptied by hand, as
// after any failure, because the guard deletes no data.
func Initialise(ctx context.Context, o InitOptions) (bool, error) {
	if len(o.Args) == 0 || o.DataDir == "" || o.PasswordFile == "" || o.Logger == nil {
		return false, errors.New("initialise mysqld: program, data directory, password file and logger must be given")
	}
	if err := checkUser(o.User); err != nil {
		return false, fmt.Errorf("initialise mysqld: %w", err)
	}
	empty, err := isEmpty(o.DataDir)
	if err != nil {
		return false, fmt.Errorf("initialise mysqld: %w", err)
	}
	if !empty {
		return false, checkInitialised(o)
	}
	if err := makeServer(ctx, o); err != nil {
		return false, fmt.Errorf("initialise mysqld in %s: %w", o.DataDir, err)
	}
	o.Logger.Info("mysqld initialised", "data_dir", o.DataDir, "control_account", o.User, "password_file", o.PasswordFile)
	return true, nil
}

// isEmpty says whether mysqld would initialise the directory: it ignores hidden
// files and what a new file system holds.
func isEmpty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() != "lost+found" && !strings.HasPrefix(e.Name(), ".")
	}), nil
}

func checkInitialised(o InitOptions) error {
	text, err := os.ReadFile(o.PasswordFile)
	if err == nil && len(bytes.TrimSpace(text)) == 0 {
		err = fmt.Errorf("%s is empty", o.PasswordFile)
	}
	if err != nil {
		return fmt.Errorf("initialise mysqld: %s is not empty, but there is no password of its control account %s: %w; "+
			"empty the directory to begin anew, or adopt the server by making the account and the file by hand",
			o.DataDir, o.User, err)
	}
	if _, err := os.Stat(filepath.Join(o.DataDir, "mysql.ibd")); err != nil {
		return fmt.Errorf("initialise mysqld: %s is not empty, but holds no server either: %w; "+
			"empty it, if an initialisation was interrupted", o.DataDir, err)
	}
	return nil
}

// makeServer writes the password last: its file says that all the rest was
// done, and an interrupted try is refused the next time.
func makeServer(ctx context.Context, o InitOptions) error {
	cred, err := credential(o.Args)
	if err != nil {
		return err
	}
	control, err := newPassword()
	if err != nil {
		return err
	}
	root, err := newPassword()
	if err != nil {
		return err
	}
	plugin, err := hasSocketPlugin(ctx, o)
	if err != nil {
		return err
	}
	statements := append(controlSQL(o.User, control), rootSQL(root, plugin, osUser())...)
	initFile := o.PasswordFile + initSuffix
	if err := writeStatements(initFile, statements, credUID(cred)); err != nil {
		return err
	}
	defer os.Remove(initFile) // A next try overwrites it.
	if err := runInitialise(ctx, o, initFile); err != nil {
		return err
	}
	err = renameio.WriteFile(o.PasswordFile, []byte(control+"\n"), 0o600, renameio.WithStaticPermissions(0o600))
	if err != nil {
		return fmt.Errorf("write the control account's password: %w", err)
	}
	return nil
}

func runInitialise(ctx context.Context, o InitOptions, initFile string) error {
	args := append(slices.Clone(o.Args[1:]),
		"--datadir="+o.DataDir, "--initialize-insecure", "--init-file="+initFile)
	cmd := exec.CommandContext(ctx, o.Args[0], args...)
	cmd.Stderr = os.Stderr
	if o.Output != nil {
		cmd.Stdout, cmd.Stderr = o.Output, o.Output
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mysqld --initialize-insecure: %w; see its log", err)
	}
	return nil
}

// hasSocketPlugin asks mysqld where its plugins are: a statement in the init
// file that fails would make the new directory unusable.
func hasSocketPlugin(ctx context.Context, o InitOptions) (bool, error) {
	args := append(slices.Clone(o.Args[1:]), "--datadir="+o.DataDir, "--verbose", "--help")
	out, err := exec.CommandContext(ctx, o.Args[0], args...).Output()
	if err != nil {
		return false, fmt.Errorf("ask mysqld for its plugin directory: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if dir, ok := strings.CutPrefix(line, "plugin-dir "); ok {
			_, err := os.Stat(filepath.Join(strings.TrimSpace(dir), socketPluginFile))
			return err == nil, nil
		}
	}
	return false, nil
}

// osUser names the guard's user where it is not root, who may log in anyway. It
// owns the data, so letting it in gives nothing away.
func osUser() string {
	if os.Geteuid() == 0 {
		return ""
	}
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// writeRepairFile writes the statements of [Options.RepairControl].
func writeRepairFile(o Options) (string, error) {
	password, err := o.Password()
	if err != nil {
		return "", fmt.Errorf("repair the control account: %w", err)
	}
	cred, err := credential(o.Args)
	if err != nil {
		return "", err
	}
	path := o.RunFile + initSuffix
	if err := writeStatements(path, controlSQL(o.User, password), credUID(cred)); err != nil {
		return "", fmt.Errorf("repair the control account: %w", err)
	}
	return path, nil
}

// writeStatements writes a file that its owner alone can read, and hands it to
// the user that mysqld runs as.
func writeStatements(path string, statements []string, uid int) error {
	text := strings.Join(statements, ";\n") + ";\n"
	err := renameio.WriteFile(path, []byte(text), 0o600, renameio.WithStaticPermissions(0o600))
	if err != nil {
		return fmt.Errorf("write mysqld's first statements: %w", err)
	}
	if uid >= 0 {
		if err := os.Chown(path, uid, -1); err != nil {
			return fmt.Errorf("hand mysqld's first statements to its user: %w", err)
		}
	}
	return nil
}
