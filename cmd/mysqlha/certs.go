package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/certs"
)

const day = 24 * time.Hour

func (t tool) certsCommand() *cli.Command {
	dir := func() cli.Flag {
		return &cli.StringFlag{Name: "dir", Usage: "the folder of the certificate authority: `DIR`"}
	}
	return &cli.Command{
		Name: "certs", Usage: "make a small certificate authority and certificates of hosts and people",
		Subcommands: []*cli.Command{
			{Name: "init", Usage: "make a certificate authority: DIR/ca.crt for every host, DIR/ca.key for nobody but you",
				Flags: []cli.Flag{dir(),
					&cli.StringFlag{Name: "name", Value: "mysqlha", Usage: "its name, for people"},
					&cli.IntFlag{Name: "days", Value: 3650, Usage: "how long it is valid"}},
				Action: t.certsInit},
			{Name: "issue", Usage: "issue DIR/NAME.crt and DIR/NAME.key",
				Description: "A certificate with --host is for a daemon: server and client. One without is for a client, such as a person.",
				Flags: []cli.Flag{dir(),
					&cli.StringFlag{Name: "name", Usage: "whose it is, and the name of the files: `NAME`"},
					&cli.StringSliceFlag{Name: "host", Usage: "a host name or IP address that it proves; once for each: `HOST`"},
					&cli.IntFlag{Name: "days", Value: 825, Usage: "how long it is valid"}},
				Action: t.certsIssue},
		},
	}
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
	dir, name, hosts := c.String("dir"), c.String("name"), c.StringSlice("host")
	if strings.EqualFold(name+".key", certs.AuthorityKey) {
		return &usageError{"--name is " + name + ", whose files are those of the authority itself: choose another name"}
	}
	authority, err := certs.LoadAuthority(dir)
	if err != nil {
		return fmt.Errorf("%w (mysqlha certs init --dir %s makes one)", err, dir)
	}
	request := certs.Request{Name: name, Hosts: hosts, Server: len(hosts) > 0, Client: true, ValidFor: valid}
	if err := authority.IssueTo(dir, name, request); err != nil {
		return err
	}
	use := "a client"
	if len(hosts) > 0 {
		use = "a daemon at " + strings.Join(hosts, ", ")
	}
	_, err = fmt.Fprintf(t.stdout, "made %s and %s, for %s\n", filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"), use)
	return err
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
