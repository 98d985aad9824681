package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/deploy/reference"
)

// hostCommands are those for a site of hosts of their own.
func hostCommands() []*cli.Command {
	site := []cli.Flag{
		&cli.StringFlag{Name: "site", Required: true, Usage: "the description of the site, a `FILE`"},
		&cli.StringFlag{Name: "pki", Value: "pki", Usage: "the `FOLDER` of its authority, made by mysqlha certs init"},
	}
	return []*cli.Command{
		{Name: "bundle", Usage: "write what each host of a site of real hosts gets, and the scripts that install it: docs/site.md", Action: bundle, Flags: append(site,
			&cli.StringFlag{Name: "out", Value: "bundle", Usage: "the `FOLDER` to make; a former bundle there is replaced"},
			&cli.StringFlag{Name: "packages", Value: "bin/packages", Usage: "the `FOLDER` with our packages for Debian, of one version"},
			&cli.StringFlag{Name: "shop", Usage: "the `PROGRAM` for the application servers (default: the one beside this program)"},
			&cli.StringFlag{Name: "arch", Value: runtime.GOARCH, Usage: "the hosts' architecture, amd64 or arm64: `ARCH`"},
			&cli.StringFlag{Name: "alertmanager", Usage: "the configuration of Alertmanager with your receivers, a `FILE` (default: one that tells nobody)"},
			&cli.StringFlag{Name: "public-cert", Usage: "the certificate that customers see, with what leads to its authority, a `FILE` (default: one of the site's own authority)"},
			&cli.StringFlag{Name: "public-key", Usage: "its key, a `FILE`"},
			&cli.StringFlag{Name: "public-ca", Usage: "its authority, for the balancers' checks, a `FILE` (default: those that hosts trust anyway)"},
			&cli.IntFlag{Name: "days", Value: 90, Usage: "for how long new certificates are valid, `DAYS`"})},
		{Name: "visit", Usage: "order at a site of real hosts as customers, and count at the primary what was acknowledged; from where administrators log in", Action: visitHosts, Flags: append(site,
			&cli.StringFlag{Name: "ca", Usage: "the authority of the certificate that customers see, a `FILE` (default: the site's own)"},
			&cli.IntFlag{Name: "orders", Value: 1000, Usage: "how many; 0 goes on until Ctrl-C"},
			&cli.IntFlag{Name: "customers", Value: 8, Usage: "how many order at a time"})},
	}
}

func bundle(c *cli.Context) error {
	shop := c.String("shop")
	if shop == "" {
		beside, err := ownFolder()
		if err != nil {
			return err
		}
		shop = filepath.Join(beside, "shop")
	}
	out := c.String("out")
	err := reference.Bundle(reference.BundleOptions{Description: c.String("site"), PKI: c.String("pki"), Out: out, Packages: c.String("packages"), Shop: shop, Arch: c.String("arch"),
		Routing: c.String("alertmanager"), PublicCert: c.String("public-cert"), PublicKey: c.String("public-key"), PublicCA: c.String("public-ca"), ValidFor: time.Duration(c.Int("days")) * 24 * time.Hour})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "%s has what each host gets. See what would be done with %[1]s/all --check, do it with %[1]s/all.\n", filepath.Clean(out))
	return nil
}

// visitHosts is interrupted by letting the customers finish, and then still counts.
func visitHosts(c *cli.Context) error {
	visit := reference.Visit{Description: c.String("site"), PKI: c.String("pki"), CA: c.String("ca"), Orders: c.Int("orders"), Customers: c.Int("customers")}
	report, found, err := visit.Run(context.WithoutCancel(c.Context), c.Context.Done())
	if err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, report)
	if report.LastFailure != "" {
		fmt.Fprintln(c.App.Writer, "the last failure:", report.LastFailure)
	}
	fmt.Fprintln(c.App.Writer, found)
	if !found.OK() {
		return fmt.Errorf("the promise was broken")
	}
	return nil
}
