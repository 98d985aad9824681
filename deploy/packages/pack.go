package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

const (
	maintainer = "mysqlha maintainers <mysqlha@users.noreply.github.com>"
	homepage   = "https://github.com/mysqlha/mysqlha"
	// release tells packages of one version apart; there is never a second.
	release = "1"
)

// pack writes one package and returns its path.
func pack(o options, version, stage, arch, format string, p pkg) (path string, err error) {
	contents, err := contentsOf(o, stage, arch, format, p)
	if err != nil {
		return "", err
	}
	scripts, err := writeScripts(o, stage, format, p)
	if err != nil {
		return "", err
	}
	needs := p.needs[format]
	info := &nfpm.Info{
		Name: p.name, Arch: arch, Platform: "linux", Version: version, VersionSchema: "none", Release: release,
		Section: "database", Priority: "optional", Maintainer: maintainer, Homepage: homepage, License: "Apache-2.0",
		Description: p.summary + "\n" + p.description, DisableGlobbing: true, MTime: o.when,
		Overridables: nfpm.Overridables{
			Depends: needs.depends, Recommends: needs.recommends, Suggests: needs.suggests,
			Contents: contents, Scripts: scripts,
			// The machine that builds is nobody's business, and would make each build another one.
			RPM: nfpm.RPM{BuildHost: "localhost", Summary: p.summary},
		},
	}
	var packager nfpm.Packager = deb.Default
	if format == "rpm" {
		info.Description = p.description
		packager = rpm.DefaultRPM
	}
	path = filepath.Join(o.out, packager.ConventionalFileName(info))
	file, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return path, packager.Package(info, file)
}

// contentsOf are the files of a package with their owners, modes and times.
func contentsOf(o options, stage, arch, format string, p pkg) (files.Contents, error) {
	var all files.Contents
	for _, f := range p.files {
		if f.only != "" && f.only != format {
			continue
		}
		info := files.ContentFileInfo{Owner: "root", Group: "root", Mode: fs.FileMode(f.mode), MTime: o.when}
		if f.from == (from{}) {
			info.Mode |= 0o755
			all = append(all, &files.Content{Destination: f.to, Type: files.TypeDir, FileInfo: &info})
			continue
		}
		if info.Mode == 0 {
			info.Mode = 0o644
		}
		sources, err := filepath.Glob(sourceOf(o, stage, arch, f.from))
		if err != nil || len(sources) == 0 {
			return nil, fmt.Errorf("%s: there is no %+v: %w", f.to, f.from, cmp.Or(err, fs.ErrNotExist))
		}
		slices.Sort(sources)
		for _, source := range sources {
			to, own := f.to, info
			if strings.HasSuffix(to, "/") {
				to += filepath.Base(source)
			}
			all = append(all, &files.Content{Source: source, Destination: to, FileInfo: &own})
		}
	}
	return all, nil
}

// sourceOf is where the bytes of a file are, as a pattern.
func sourceOf(o options, stage, arch string, f from) string {
	switch {
	case f.made != "":
		return filepath.Join(stage, f.made)
	case f.program != "":
		return filepath.Join(stage, arch, f.program)
	}
	return filepath.Join(o.root, f.source)
}

// writeScripts writes what runs before and after a package comes or goes.
func writeScripts(o options, stage, format string, p pkg) (nfpm.Scripts, error) {
	made := make(map[string]string)
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		text, err := script(o.root, name, p)
		if err != nil {
			return nfpm.Scripts{}, err
		}
		made[name] = filepath.Join(stage, p.name+"."+format+"."+name)
		if err := os.WriteFile(made[name], []byte(text), 0o755); err != nil {
			return nfpm.Scripts{}, err
		}
	}
	return nfpm.Scripts{PostInstall: made["postinst"], PreRemove: made["prerm"], PostRemove: made["postrm"]}, nil
}

// script is one script of a package: what the package is, what all scripts share, and, if
// there is one, what this package alone does.
func script(root, name string, p pkg) (string, error) {
	text := "#!/bin/sh\n# " + name + " of " + p.name + ", for dpkg and rpm.\nset -e\n\n"
	for _, one := range []struct{ name, value string }{
		{"package", p.name}, {"units", strings.Join(p.units, " ")}, {"restarted", strings.Join(p.restarted, " ")}, {"needed", p.needed}, {"next", p.next},
	} {
		text += one.name + "='" + one.value + "'\n"
	}
	for _, part := range []string{"common.sh", p.name + ".sh", name + ".sh"} {
		more, err := os.ReadFile(filepath.Join(root, "deploy/packages/scripts", part))
		if err != nil {
			return "", err
		}
		text += "\n" + string(more)
	}
	return text, nil
}
