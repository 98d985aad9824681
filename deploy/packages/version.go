package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// described are the answers of git describe --tags --always --dirty: a tag with how many
// commits came after it, or a commit alone where there is no tag yet.
var (
	tagged   = regexp.MustCompile(`^v?(\d+(?:\.\d+)*)(?:-([a-z]+[.a-z0-9]*))?(?:-(\d+)-g([0-9a-f]+))?$`)
	untagged = regexp.MustCompile(`^[0-9a-f]{7,40}$`)
)

// parseVersion makes a version that deb and rpm both take and sort as git does: a release
// candidate is before its release, later commits are after their tag. Where there is no
// tag, the time of the commit says what is newer.
func parseVersion(describe string, when time.Time) (string, error) {
	commit, dirty := strings.CutSuffix(describe, "-dirty")
	var after []string
	v := ""
	if m := tagged.FindStringSubmatch(commit); m != nil {
		v = m[1]
		if m[2] != "" {
			v += "~" + m[2]
		}
		if m[3] != "" {
			after = append(after, m[3], "g"+m[4])
		}
	} else if untagged.MatchString(commit) {
		v = "0.0~" + when.UTC().Format("20060102150405") + ".g" + commit
	} else {
		return "", fmt.Errorf("%q is no version that git describe tells", describe)
	}
	if dirty {
		after = append(after, "dirty")
	}
	if len(after) > 0 {
		v += "+" + strings.Join(after, ".")
	}
	return v, nil
}
