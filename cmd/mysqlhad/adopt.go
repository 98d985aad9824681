package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/doctor"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
	"github.com/mysqlha/mysqlha/replication/guard"
)

const adoptHelp = `Prepares the mysqld of this host, which runs and holds data, for its adoption: nothing is restarted, and nothing is written
into its binary log. It examines the server as mysqlha doctor does, shows what it would change and what is in the way, asks, and then

  sets what must be set and can be while it runs, so that it lasts (SET PERSIST), and loads missing plugins;
  has mysqld serve a certificate that the cluster's CA vouches for, if it does not;
  makes the daemon's account, 'mysqlha'@'localhost', with a new password in the daemon's folder.

Do it on every host, then start there mysqlhad guard --attach and mysqlhad, then once, anywhere: mysqlha bootstrap --adopt.`

func adoptCommand(flags []cli.Flag, action func(*cli.Context) error) *cli.Command {
	return &cli.Command{Name: "adopt", Usage: "prepare a server that runs already for its adoption by the cluster", Description: adoptHelp,
		Flags: append(slices.Clone(flags),
			&cli.StringFlag{Name: "admin-user", Value: "root", Usage: "an account of this mysqld that may do everything, over its socket"},
			&cli.StringFlag{Name: "admin-password-file", Usage: "the `FILE` with its password; without it none is sent (auth_socket)"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only show what would be changed, and what is in the way"},
			&cli.BoolFlag{Name: "yes", Usage: "do not ask"}),
		Action: action}
}

// preparation is what an adoption changes on this host's server.
type preparation struct {
	cfg   *config.Config
	admin *replication.Local
	// steps are told and carried out in their order; inTheWay forbids all of them,
	// remarks forbid nothing.
	steps             []preparationStep
	inTheWay, remarks []decide.Diagnosis
}

type preparationStep struct {
	why        string
	statements []string
	// secret keeps the statements from being shown; after is done when they were.
	secret bool
	after  func() error
}

func runAdopt(c *cli.Context, stdin *os.File, stdout, stderr io.Writer) error {
	if c.Args().Present() {
		return usage("mysqlhad adopt takes no argument %q", c.Args().First())
	}
	cfg, _, err := prepare(c, stderr)
	if err != nil {
		return err
	}
	if !cfg.HasRole(config.RoleMember) {
		return usage("%s has no role member: there is no mysqld to adopt on this host", cfg.Name)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return err
	}
	var password func() (string, error)
	if file := c.String("admin-password-file"); file != "" {
		password = func() (string, error) { return config.ReadSecret(file) }
	}
	admin, err := replication.OpenLocal(replication.Options{Server: cfg.Name, Socket: cfg.MySQL.Socket, User: c.String("admin-user"), Password: password})
	if err != nil {
		return err
	}
	defer admin.Close() //nolint:errcheck // nothing depends on how the connection ends
	p := &preparation{cfg: cfg, admin: admin}
	if err := p.look(c.Context); err != nil {
		return fmt.Errorf("%w; is mysql.socket right, and may %s log in there?", err, c.String("admin-user"))
	}
	fmt.Fprint(stdout, p.text())
	switch {
	case len(p.inTheWay) > 0:
		return errors.New("nothing was changed: mend what is in the way, then try again")
	case c.Bool("dry-run") || len(p.steps) == 0:
		return nil
	case !c.Bool("yes"):
		if err := confirm(stdin, stdout, "Type yes to change this: "); err != nil {
			return err
		}
	}
	return p.do(c.Context, stdout)
}

func confirm(stdin *os.File, stdout io.Writer, question string) error {
	if _, err := unix.IoctlGetTermios(int(stdin.Fd()), unix.TCGETS); err != nil {
		return usage("it asks before it changes anything, and there is no terminal to ask at: add --yes")
	}
	fmt.Fprint(stdout, question)
	line, err := bufio.NewReader(stdin).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "yes" {
		return errors.New("not confirmed; nothing was changed")
	}
	return nil
}

// harmlessToAdopt are findings that an adoption need not wait for.
var harmlessToAdopt = []decide.Code{decide.CodeMissingPrivilege, decide.CodeExcessPrivilege, decide.CodeHostsBlocked, decide.CodeMayShutDown, decide.CodeForeignReplicator, decide.CodeTableWithoutKey,
	decide.CodeForeignEngine, decide.CodeShortRetention, decide.CodeCertificateExpires, decide.CodeOptionContradicts}

// look examines the server and says what there is to do.
func (p *preparation) look(ctx context.Context) error {
	facts, err := p.admin.Facts(ctx)
	if err != nil {
		return err
	}
	for _, f := range doctor.Examine(doctor.Host{Server: p.cfg.Name, Now: time.Now(), Facts: facts}) {
		switch {
		case f.Code == decide.CodeMissingPrivilege: // It speaks of the administrator.
		case len(f.Statements) > 0:
			p.steps = append(p.steps, preparationStep{why: f.Detail, statements: f.Statements})
		case f.Severity == decide.SeverityInfo || slices.Contains(harmlessToAdopt, f.Code):
			p.remarks = append(p.remarks, f)
		default:
			p.inTheWay = append(p.inTheWay, f)
		}
	}
	// What refuses plaintext comes last: those that are connected were looked at first.
	slices.SortStableFunc(p.steps, func(a, b preparationStep) int { return secureLast(a) - secureLast(b) })
	p.certificate(facts)
	return p.control(ctx)
}

func secureLast(s preparationStep) int {
	if strings.Contains(s.statements[0], "require_secure_transport") {
		return 1
	}
	return 0
}

// certificate has mysqld serve what the cluster verifies.
func (p *preparation) certificate(f replication.Facts) {
	self, _ := p.cfg.Server(p.cfg.Name)
	host := certs.Files{CA: p.cfg.TLS.CA, Cert: p.cfg.TLS.Cert, Key: p.cfg.TLS.Key}
	if err := host.Check(); err != nil {
		p.inTheWay = append(p.inTheWay, doctor.Of(decide.CodeCertificateUnfit, p.cfg.Name, err.Error(), "mysqlha certs issue"))
		return
	}
	if own := inspect("the host", host.CA, host.Cert, self.MySQLTLSName()); own.Problem != "" {
		p.inTheWay = append(p.inTheWay, doctor.Of(decide.CodeCertificateUnfit, p.cfg.Name, own.Problem, "mysqlha certs issue --name "+p.cfg.Name+" --host "+self.MySQLTLSName()))
		return
	}
	now := inspect("mysqld", host.CA, certificateFile(p.cfg, f), self.MySQLTLSName())
	if now.Problem == "" {
		return
	}
	mysqld := mysqldFiles(host)
	if own := inspect("mysqld", mysqld.CA, mysqld.Cert, self.MySQLTLSName()); own.Problem != "" {
		p.inTheWay = append(p.inTheWay, doctor.Of(decide.CodeCertificateUnfit, p.cfg.Name, own.Problem, "mysqlha certs issue --name "+p.cfg.Name+" --host "+self.MySQLTLSName()))
		return
	}
	p.steps = append(p.steps, preparationStep{why: "mysqld serves a certificate that the cluster does not trust (" + now.Problem + "); clients that verify the present one need the cluster's CA",
		statements: guard.CertificateSQL(host.CA, mysqld.Cert, mysqld.Key)})
}

// mysqldFiles are those that mysqld is to have: its own beside the daemon's, where they
// are, or else the daemon's.
func mysqldFiles(host certs.Files) certs.Files {
	base := filepath.Join(filepath.Dir(host.Cert), certs.FileOf(certs.RoleMysqld))
	if _, err := os.Stat(base + ".crt"); err != nil {
		return host
	}
	return certs.Files{CA: host.CA, Cert: base + ".crt", Key: base + ".key"}
}

// control makes the daemon's account, unless it can log in.
func (p *preparation) control(ctx context.Context) error {
	control, err := replication.OpenLocal(replication.Options{Server: p.cfg.Name, Socket: p.cfg.MySQL.Socket, User: p.cfg.MySQL.ControlUser, Password: controlPassword(p.cfg)})
	if err != nil {
		return err
	}
	defer control.Close() //nolint:errcheck // nothing depends on how the connection ends
	if f, err := control.Facts(ctx); err == nil {
		fit := true
		for _, d := range doctor.Examine(doctor.Host{Server: p.cfg.Name, Now: time.Now(), Facts: f}) {
			fit = fit && d.Code != decide.CodeMissingPrivilege
		}
		if fit {
			return nil
		}
	}
	statements, password, err := guard.ControlSQL(p.cfg.MySQL.ControlUser)
	if err != nil {
		return err
	}
	p.steps = append(p.steps, preparationStep{secret: true, statements: statements,
		why: fmt.Sprintf("the account '%s'@'localhost' is made with the rights that the daemon needs; its password goes to %s", p.cfg.MySQL.ControlUser, p.cfg.MySQL.ControlPasswordFile),
		after: func() error {
			return renameio.WriteFile(p.cfg.MySQL.ControlPasswordFile, []byte(password+"\n"), 0o600, renameio.WithStaticPermissions(0o600))
		}})
	return nil
}

func (p *preparation) text() string {
	var b strings.Builder
	if len(p.inTheWay) > 0 {
		b.WriteString("In the way of an adoption:\n")
	}
	for _, f := range p.inTheWay {
		fmt.Fprintf(&b, "  %s: %s\n    -> %s\n", f.Code, f.Detail, f.Mend)
	}
	if len(p.steps) > 0 {
		b.WriteString("What is changed on the running server:\n")
	}
	for _, s := range p.steps {
		fmt.Fprintf(&b, "  %s\n", s.why)
		for _, statement := range s.statements {
			if !s.secret {
				fmt.Fprintf(&b, "    %s\n", statement)
			}
		}
	}
	if len(p.remarks) > 0 {
		b.WriteString("Also seen, and no hindrance:\n")
	}
	for _, f := range p.remarks {
		fmt.Fprintf(&b, "  %s: %s\n", f.Code, f.Detail)
	}
	if len(p.steps) == 0 && len(p.inTheWay) == 0 {
		b.WriteString("This server is ready: start mysqlhad guard --attach and mysqlhad, then mysqlha bootstrap --adopt.\n")
	}
	return b.String()
}

// do carries the steps out.
func (p *preparation) do(ctx context.Context, stdout io.Writer) error {
	for _, s := range p.steps {
		err := p.admin.Mend(ctx, s.statements, func(statement string) {
			if !s.secret {
				fmt.Fprintf(stdout, "done: %s\n", statement)
			}
		})
		if err == nil && s.after != nil {
			err = s.after()
		}
		if err != nil {
			return fmt.Errorf("%w; what is said to be done is, and the rest is tried again by the same command", err)
		}
	}
	fmt.Fprintln(stdout, "This server is ready: start mysqlhad guard --attach and mysqlhad, then mysqlha bootstrap --adopt.")
	return nil
}
