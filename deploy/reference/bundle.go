package reference

import (
	"crypto/rand"
	"crypto/tls"
	"debug/elf"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
)

//go:embed install/*
var installFiles embed.FS

// HostsExample is the description of a site of ten hosts of their own, to begin with.
//
//go:embed hosts.example.yaml
var HostsExample []byte

// bundleMark is a file that every bundle has, and nothing else; bundleMarkText is what is in
// it. A folder without it is never removed.
const (
	bundleMark     = ".mysqlha-bundle"
	bundleMarkText = "This folder is a bundle of mysqlha's: infra bundle replaces it as a whole.\n"
)

// BundleOptions say what to make for hosts of their own.
type BundleOptions struct {
	// Description is the description of the site, a file.
	Description string
	// PKI is the folder of the site's authority, as `mysqlha certs init` makes it. What
	// hosts need is issued there unless it is there already and good for a while; the
	// passwords of the site are kept there, too.
	PKI string
	// Out is the folder to make. A former bundle there is replaced, anything else is not.
	Out string
	// Packages is the folder with our packages for Debian, one version of them, and Shop
	// the program for the application servers.
	Packages, Shop string
	// Arch is the architecture of the hosts, in Go's words.
	Arch string
	// Routing is the configuration of Alertmanager, a file; default the shipped routing,
	// which tells nobody.
	Routing string
	// PublicCert and PublicKey are the certificate that customers see, and its key, if it
	// is not to be one of the site's own authority; PublicCA is the file of whom it is of,
	// default those that hosts trust anyway.
	PublicCert, PublicKey, PublicCA string
	// ValidFor is how long new certificates are valid; default 90 days.
	ValidFor time.Duration
}

// Bundle writes for each host of a description a folder with all that it needs, at the
// places where it belongs, and a script that installs it; and one that does so on all
// hosts by ssh. The same description, authority and packages give the same bundle.
func Bundle(o BundleOptions) error {
	if o.ValidFor == 0 {
		o.ValidFor = 90 * 24 * time.Hour
	}
	site, err := config.LoadSite(o.Description)
	if err == nil {
		err = checkHosts(site)
	}
	if err != nil {
		return fmt.Errorf("the description of the site %s: %w", o.Description, err)
	}
	if err := replaceable(o.Out); err != nil {
		return err
	}
	b := &bundler{options: o, site: site}
	if err := b.gather(); err != nil {
		return err
	}
	b.dir, err = os.MkdirTemp(filepath.Dir(filepath.Clean(o.Out)), filepath.Base(o.Out)+".new-")
	if err != nil {
		return fmt.Errorf("making the bundle: %w", err)
	}
	defer os.RemoveAll(b.dir)
	for _, h := range site.Hosts {
		if err := b.host(h); err != nil {
			return fmt.Errorf("the bundle of %s: %w", h.Name, err)
		}
	}
	if err := b.driver(); err != nil {
		return fmt.Errorf("making the bundle: %w", err)
	}
	if err := errors.Join(os.RemoveAll(o.Out), os.Rename(b.dir, o.Out)); err != nil {
		return fmt.Errorf("making the bundle: %w", err)
	}
	return nil
}

// replaceable refuses a place where something is that no bundle is.
func replaceable(out string) error {
	entries, err := os.ReadDir(out)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the bundle cannot be there: %w; name another folder", err)
	}
	if text, err := os.ReadFile(filepath.Join(out, bundleMark)); err != nil || string(text) != bundleMarkText {
		return fmt.Errorf("%s holds something that is no bundle: name another folder, or remove it yourself if nothing in it is needed", out)
	}
	return nil
}

// bundler makes one bundle.
type bundler struct {
	options BundleOptions
	site    *config.Site
	dir     string
	// packages are the paths of ours by name, version is theirs.
	packages map[string]string
	version  string
	shop     []byte
	token    string
	password string
}

// password is what may be written into SQL as it is.
var password = regexp.MustCompile(`^[A-Za-z0-9]+$`)

var packageFile = regexp.MustCompile(`^(mysqlhad?)_([0-9A-Za-z.+~-]+)_(amd64|arm64)\.deb$`)

// gather reads all that the hosts have in common, before anything is written.
func (b *bundler) gather() error {
	files, err := os.ReadDir(b.options.Packages)
	if err != nil {
		return fmt.Errorf("reading our packages: %w; `make packages` makes them", err)
	}
	b.packages = make(map[string]string)
	for _, f := range files {
		m := packageFile.FindStringSubmatch(f.Name())
		if m == nil || m[3] != b.options.Arch {
			continue
		}
		if b.packages[m[1]] != "" || b.version != "" && b.version != m[2] {
			return fmt.Errorf("%s has packages of several versions, such as %s: leave one there", b.options.Packages, f.Name())
		}
		b.packages[m[1]], b.version = filepath.Join(b.options.Packages, f.Name()), m[2]
	}
	for _, name := range []string{"mysqlha", "mysqlhad"} {
		if b.packages[name] == "" {
			return fmt.Errorf("%s has no package %s for %s: `make packages` makes it", b.options.Packages, name, b.options.Arch)
		}
	}
	if b.shop, err = os.ReadFile(b.options.Shop); err != nil {
		return fmt.Errorf("reading the shop: %w", err)
	}
	if err := isFor(b.options.Shop, b.options.Arch); err != nil {
		return err
	}
	if err := b.public(); err != nil {
		return err
	}
	if b.token, err = kept(filepath.Join(b.options.PKI, "etcd.token")); err == nil {
		b.password, err = kept(filepath.Join(b.options.PKI, "app.password"))
	}
	if err == nil && !password.MatchString(b.password) {
		err = fmt.Errorf("the application's password in %s has something else than letters and digits of ASCII: write another there, or remove the file to have one made", filepath.Join(b.options.PKI, "app.password"))
	}
	return err
}

// public looks whether a certificate that is not of the site's own authority can be shown.
func (b *bundler) public() error {
	o := b.options
	if o.PublicCert == "" && o.PublicKey == "" && o.PublicCA == "" {
		return nil
	}
	if o.PublicCert == "" || o.PublicKey == "" {
		return errors.New("the public certificate and its key go together: give both")
	}
	pair, err := tls.LoadX509KeyPair(o.PublicCert, o.PublicKey)
	if err == nil {
		err = pair.Leaf.VerifyHostname(b.site.Public.Name)
	}
	if err != nil {
		return fmt.Errorf("the public certificate %s: %w", o.PublicCert, err)
	}
	return nil
}

// isFor tells whether a program can run on hosts of an architecture.
func isFor(program, arch string) error {
	file, err := elf.Open(program)
	if err != nil {
		return fmt.Errorf("reading %s: %w", program, err)
	}
	defer file.Close()
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]
	libraries, err := file.ImportedLibraries()
	if err != nil || file.Machine != want || len(libraries) > 0 {
		return fmt.Errorf("%s is for %s and needs the libraries %v, and the hosts are %s: build it with CGO_ENABLED=0 GOARCH=%s", program, file.Machine, libraries, arch, arch)
	}
	return nil
}

// kept is a secret that is made once and kept in a file.
func kept(file string) (string, error) {
	text, err := config.ReadSecret(file)
	if errors.Is(err, fs.ErrNotExist) {
		text = rand.Text()
		if err = writeFile(file, []byte(text+"\n"), 0o600); err == nil {
			return text, nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("keeping the site's secrets: %w", err)
	}
	return text, nil
}

// issued are the certificates of a holder: those that are there, unless they are others
// than they should be, or end soon. It returns their folder.
func (b *bundler) issued(requests ...certs.Request) (string, error) {
	pki := certs.Folder(b.options.PKI)
	dir := filepath.Join(b.options.PKI, requests[0].Name)
	for _, q := range requests {
		q.Hosts = slices.Compact(slices.Sorted(slices.Values(q.Hosts)))
		had, err := certs.Look(filepath.Join(dir, certs.FileOf(q.Role)+".crt"), filepath.Join(b.options.PKI, certs.AuthorityCert))
		if err == nil && had.Problem == "" && !had.Due(time.Now()) && had.Role == q.Role && had.Name == q.Name && slices.Equal(slices.Sorted(slices.Values(had.Hosts)), q.Hosts) {
			continue
		}
		if _, err := pki.Issue(q); err != nil {
			return "", fmt.Errorf("%w; `mysqlha certs init --dir %s` makes an authority", err, b.options.PKI)
		}
	}
	return dir, nil
}

// script is the script that installs a host: what the host is, what all hosts share, and
// what those of its tier do.
func (b *bundler) script(h config.SiteHost) ([]byte, error) {
	p, tier := b.site.Ports, string(h.Tiers[0])
	// Where each service is to be reached once all is done.
	listens := []string{"prometheus-node-exporter=" + address(h, p.NodeExporter)}
	for unit, port := range map[config.Tier]map[string]int{
		config.TierLB:      {"haproxy": p.WebExporter},
		config.TierWeb:     {"nginx": p.HTTPS, "prometheus-nginx-exporter": p.WebExporter},
		config.TierApp:     {"mysqlha-redirector": p.Write, "shop": p.App},
		config.TierDB:      {"mysqlhad": p.API},
		config.TierMonitor: {"prometheus": p.Prometheus, "prometheus-alertmanager": p.Alertmanager},
	}[h.Tiers[0]] {
		listens = append(listens, unit+"="+address(h, port))
	}
	slices.Sort(listens)
	text := "#!/bin/bash\n# Installs " + h.Name + ", a host of the tier " + tier + " of the site " + b.site.Cluster + ". Made by `infra bundle`: docs/site.md.\nset -euo pipefail\n\n"
	for _, one := range [][2]string{
		{"host", h.Name}, {"tier", tier}, {"address", h.Addresses[0]}, {"arch", b.options.Arch}, {"version", b.version},
		{"ssh_port", strconv.Itoa(p.SSH)},
	} {
		text += one[0] + "='" + one[1] + "'\n"
	}
	text += "admin=('" + strings.Join(b.site.Admin, "' '") + "')\nlistens=('" + strings.Join(listens, "' '") + "')\n"
	for _, part := range []string{"common.sh", tier + ".sh", "main.sh"} {
		more, err := installFiles.ReadFile("install/" + part)
		if err != nil {
			return nil, err
		}
		text += "\n" + string(more)
	}
	return []byte(text), nil
}

// driver is what installs all hosts by ssh, from the database outwards.
func (b *bundler) driver() error {
	list := ""
	for _, tier := range []config.Tier{config.TierDB, config.TierApp, config.TierWeb, config.TierLB, config.TierMonitor} {
		for _, h := range hostsOf(b.site, tier) {
			list += h.Name + " " + h.Addresses[0] + " " + string(tier) + "\n"
		}
	}
	all, err := installFiles.ReadFile("install/all")
	return errors.Join(err, writeFile(filepath.Join(b.dir, "all"), all, 0o755), writeFile(filepath.Join(b.dir, "hosts"), []byte(list), 0o644),
		writeFile(filepath.Join(b.dir, bundleMark), []byte(bundleMarkText), 0o644), os.Chmod(b.dir, 0o700))
}
