package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/certs"
)

const day = 24 * time.Hour

// rolesShort are the roles as they are written here.
func rolesShort() []string {
	var names []string
	for _, role := range certs.Roles() {
		names = append(names, role.Short())
	}
	return names
}

func (t tool) certsCommand() *cli.Command {
	dir := func() cli.Flag {
		return &cli.StringFlag{Name: "dir", Usage: "the folder of the certificate authority: `DIR`"}
	}
	days := func(value int) cli.Flag {
		return &cli.IntFlag{Name: "days", Value: value, Usage: "how long it is valid"}
	}
	output := &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT` of the output: table, json or yaml"}
	return &cli.Command{
		Name: "certs", Usage: "a small certificate authority: issue, renew and check certificates, replace the authority",
		Description: "DIR has the authority and a folder for each host and person, which is what they get. Daemons and mysqld take what is new by themselves.",
		Subcommands: []*cli.Command{
			{Name: "init", Usage: "make a certificate authority: DIR/ca.crt to trust, DIR/ca.key for nobody but you",
				Flags: []cli.Flag{dir(), &cli.StringFlag{Name: "name", Value: "mysqlha", Usage: "its name, for people"}, days(3650)}, Action: t.certsInit},
			{Name: "issue", Usage: "issue certificates into DIR/NAME",
				Description: "With --host the certificates are those of a database host: its daemon's and its mysqld's. Without, it is that of an operator. --role says otherwise.",
				Flags: []cli.Flag{dir(),
					&cli.StringFlag{Name: "name", Usage: "whose it is: `NAME`"},
					&cli.StringSliceFlag{Name: "role", Usage: "what its holder is: " + strings.Join(rolesShort(), ", ") + ", or none for no rights here: `ROLE`"},
					&cli.StringSliceFlag{Name: "host", Usage: "a host name or IP address that it proves; once for each: `HOST`"},
					&cli.StringSliceFlag{Name: "redirector", Usage: "a name or address under which applications reach a redirector, which mysqld proves too: `HOST`"},
					days(90)},
				Action: t.certsIssue},
			{Name: "renew", Usage: "issue anew what has less than a third of its time left",
				Flags: []cli.Flag{dir(), output, &cli.BoolFlag{Name: "all", Usage: "all of them"}, &cli.StringSliceFlag{Name: "name", Usage: "those of a holder alone: `NAME`"}}, Action: t.certsRenew},
			{Name: "show", Usage: "list the certificates of DIR: whose, for what, until when", Flags: []cli.Flag{dir(), output}, Action: t.certsShow},
			{Name: "check", Usage: "look at what every daemon and mysqld of a cluster serves, and whom the daemons trust",
				Description: "With --dir it is judged by the authority there, else by that of the context. Exit code 1 says that something is wrong.",
				Flags:       append(clientFlags(), dir()), Action: t.certsCheck},
			{Name: "replace-ca", Usage: "replace the authority in three stages, with everything running",
				Description: "After each stage copy the folders to their hosts. The stages look at the cluster first, and refuse while a host lacks what the one before has made.",
				Subcommands: []*cli.Command{
					{Name: "begin", Usage: "make the next authority, and have everybody trust both",
						Flags: []cli.Flag{dir(), &cli.StringFlag{Name: "name", Value: "mysqlha", Usage: "its name, for people"}, days(3650)}, Action: t.replaceBegin},
					{Name: "switch", Usage: "have the next authority issue everything anew", Flags: append(clientFlags(), dir(), uncheckedFlag()), Action: t.replaceSwitch},
					{Name: "finish", Usage: "have nobody trust the former one any more", Flags: append(clientFlags(), dir(), uncheckedFlag()), Action: t.replaceFinish},
				}},
		},
	}
}

func uncheckedFlag() cli.Flag {
	return &cli.BoolFlag{Name: "unchecked", Usage: "do not look at the cluster first: it is not reachable from here, and you know that every host has its new files"}
}

// folderOf is the folder of the authority that a command names.
func folderOf(c *cli.Context) (certs.Folder, error) {
	if c.String("dir") == "" {
		return "", &usageError{fmt.Sprintf("--dir is needed; see mysqlha certs %s --help", c.Command.Name)}
	}
	return certs.Folder(c.String("dir")), nil
}

// certsInit makes an authority; WriteTo refuses to replace one.
func (t tool) certsInit(c *cli.Context) error {
	valid, err := checked(c, "dir")
	if err != nil {
		return err
	}
	authority, err := certs.NewAuthority(c.String("name"), valid)
	if err != nil {
		return err
	}
	if err := authority.WriteTo(c.String("dir")); err != nil {
		return err
	}
	dir := c.String("dir")
	_, err = fmt.Fprintf(t.stdout, "made %s and %s\nkeep the key off the database hosts\nnext: mysqlha certs issue --dir %s --name db1 --host 10.0.0.1\n",
		filepath.Join(dir, certs.AuthorityCert), filepath.Join(dir, certs.AuthorityKey), dir)
	return err
}

func (t tool) certsIssue(c *cli.Context) error {
	valid, err := checked(c, "dir", "name")
	if err != nil {
		return err
	}
	roles, err := rolesOf(c)
	if err != nil {
		return err
	}
	var requests []certs.Request
	for _, role := range roles {
		hosts := c.StringSlice("host")
		if role == certs.RoleMysqld {
			hosts = append(hosts, c.StringSlice("redirector")...)
		}
		q := certs.For(role, c.String("name"), hosts, valid)
		q.Server = q.Server || role == "" && len(hosts) > 0
		requests = append(requests, q)
	}
	dir := c.String("dir")
	made, err := certs.Folder(dir).Issue(requests...)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w (mysqlha certs init --dir %s makes one)", err, dir)
	}
	if err != nil {
		return err
	}
	for _, q := range requests {
		base := filepath.Join(made, certs.FileOf(q.Role))
		what := "no rights in the cluster"
		if q.Role != "" {
			what = q.Role.Short()
		}
		if len(q.Hosts) > 0 {
			what += " at " + strings.Join(q.Hosts, ", ")
		}
		if _, err := fmt.Fprintf(t.stdout, "made %s.crt and %s.key: %s\n", base, base, what); err != nil {
			return err
		}
	}
	return nil
}

// rolesOf are the roles that are asked for, or those of the usual holders.
func rolesOf(c *cli.Context) ([]certs.Role, error) {
	hosts, given := c.StringSlice("host"), c.StringSlice("role")
	if len(given) == 0 {
		if len(hosts) > 0 {
			return []certs.Role{certs.RoleMember, certs.RoleMysqld}, nil
		}
		return []certs.Role{certs.RoleOperator}, nil
	}
	var roles []certs.Role
	for _, name := range given {
		role := certs.RoleNamed(name)
		switch {
		case name == "none":
			role = ""
		case !slices.Contains(certs.Roles(), role):
			return nil, &usageError{fmt.Sprintf("--role is %q: write %s, or none", name, strings.Join(rolesShort(), ", "))}
		case role.Serves() && len(hosts) == 0:
			return nil, &usageError{fmt.Sprintf("a %s listens: give its names or addresses with --host", name)}
		}
		roles = append(roles, role)
	}
	return roles, nil
}

func (t tool) certsRenew(c *cli.Context) error {
	folder, err := folderOf(c)
	if err != nil {
		return err
	}
	names, now := c.StringSlice("name"), time.Now()
	renewed, err := folder.Renew(func(i certs.Issued) bool {
		return (c.Bool("all") || i.Due(now)) && (len(names) == 0 || slices.Contains(names, i.Folder))
	})
	if err != nil {
		return err
	}
	list := listed(renewed, now)
	return t.print(c, list, func() string {
		if len(list) == 0 {
			return "Nothing is due.\n"
		}
		return certificatesTable(list) + "\nCopy the folders to their hosts: what runs there takes them by itself.\n"
	})
}

// listedCertificate is one certificate in an answer.
type listedCertificate struct {
	Folder  string    `json:"holder"`
	File    string    `json:"file"`
	Role    string    `json:"role,omitempty"`
	Hosts   []string  `json:"hosts,omitempty"`
	Issuer  string    `json:"issuer,omitempty"`
	Until   time.Time `json:"until"`
	Days    int       `json:"days_left"`
	Problem string    `json:"problem,omitempty"`
}

func listed(all []certs.Issued, now time.Time) []listedCertificate {
	list := make([]listedCertificate, len(all))
	for i, one := range all {
		list[i] = listedCertificate{Folder: one.Folder, File: filepath.Base(one.File), Role: one.Role.Short(), Hosts: one.Hosts, Issuer: one.Issuer,
			Until: one.Until, Days: int(one.Left(now) / day), Problem: one.Problem}
	}
	return list
}

func certificatesTable(list []listedCertificate) string {
	w := newTable("HOLDER", "FILE", "ROLE", "HOSTS", "ISSUER", "DAYS LEFT")
	for _, one := range list {
		left := fmt.Sprint(one.Days)
		if one.Problem != "" {
			left = one.Problem
		}
		w.AppendRow(table.Row{one.Folder, one.File, one.Role, strings.Join(one.Hosts, ", "), one.Issuer[:min(8, len(one.Issuer))], left})
	}
	return w.Render() + "\n"
}

// shownCertificates is the answer of certs show.
type shownCertificates struct {
	Stage        certs.Stage         `json:"stage"`
	Trusted      []string            `json:"trusted"`
	Certificates []listedCertificate `json:"certificates"`
}

func (t tool) certsShow(c *cli.Context) error {
	folder, err := folderOf(c)
	if err != nil {
		return err
	}
	all, err := folder.Issued()
	if err != nil {
		return err
	}
	stage, err := folder.Stage()
	if err != nil {
		return err
	}
	trusted, err := certs.Fingerprints(filepath.Join(string(folder), certs.AuthorityCert))
	if err != nil {
		return err
	}
	shown := shownCertificates{Stage: stage, Trusted: trusted, Certificates: listed(all, time.Now())}
	return t.print(c, shown, func() string {
		text := fmt.Sprintf("Authority %s: %s\n", trusted[0][:8], stage)
		switch stage {
		case certs.StageBegun:
			text += "Next: copy the folders to their hosts, then mysqlha certs replace-ca switch --dir " + string(folder) + "\n"
		case certs.StageSwitched:
			text += "Next: copy the folders to their hosts, then mysqlha certs replace-ca finish --dir " + string(folder) + "\n"
		}
		return text + certificatesTable(shown.Certificates)
	})
}

// checked refuses a command line that lacks one of the flags, and returns how
// long what it makes is to be valid.
func checked(c *cli.Context, needed ...string) (time.Duration, error) {
	for _, name := range needed {
		if c.String(name) == "" {
			return 0, &usageError{fmt.Sprintf("--%s is needed; see mysqlha certs %s --help", name, c.Command.Name)}
		}
	}
	const most = 36500
	days := c.Int("days")
	if days < 1 || days > most {
		return 0, &usageError{fmt.Sprintf("--days is %d: write a number from 1 to %d", days, most)}
	}
	return time.Duration(days) * day, nil
}
