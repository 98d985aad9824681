package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// HookEvents returns what a hook may be told of; the hooks package has the same.
func HookEvents() []string { return []string{"failover", "switchover", "in-sync", "fence"} }

func (r *reader) checkHooks() {
	names := map[string]string{}
	for i, h := range r.cfg.Hooks {
		path := fmt.Sprintf("hooks[%d]", i)
		r.needName(path+".name", h.Name)
		r.unique(names, path+".name", h.Name, h.Name, "give each hook a name of its own")
		for j, event := range h.On {
			if on := fmt.Sprintf("%s.on[%d]", path, j); r.sound(on) && !slices.Contains(HookEvents(), event) {
				r.fault(on, "is "+shown(event)+", not one of "+strings.Join(HookEvents(), ", "), didYouMean(event, HookEvents()))
			}
		}
		r.checkHookTarget(path, h)
		if r.sound(path+".timeout") && h.Timeout > 5*time.Minute {
			r.fault(path+".timeout", "is "+h.Timeout.String()+", and later events wait for so long", "write at most 5m")
		}
		if r.sound(path+".tries") && (h.Tries < 1 || h.Tries > 20) {
			r.fault(path+".tries", fmt.Sprintf("is %d", h.Tries), "write 1 to 20")
		}
	}
}

// checkHookTarget checks the program or the address.
func (r *reader) checkHookTarget(path string, h Hook) {
	switch {
	case !r.sound(path+".command", path+".url"):
		return
	case len(h.Command) == 0 == (h.URL == ""):
		r.fault(path, "needs one of command and url", "write command: [/usr/local/bin/page] or url: https://...")
		return
	case h.URL == "":
		if file := h.Command[0]; !filepath.IsAbs(file) {
			r.fault(path+".command[0]", "is "+shown(file)+", not a whole path", "write it from / on")
		} else if info, readable := r.checkFile(path+".command[0]", file); readable && info.Mode().Perm()&0o111 == 0 {
			r.fault(path+".command[0]", "names "+quoted(file)+", which may not be run", "chmod +x it")
		}
		for _, field := range []string{".token_file", ".ca"} {
			if r.given(path + field) {
				r.fault(path+field, "is given for a command", "remove it, or write a url")
			}
		}
		return
	}
	u, err := url.Parse(h.URL)
	switch {
	case err == nil && u.User != nil:
		r.fault(path+".url", "holds a user or a password", "write them into token_file") // Not shown.
	case err != nil || u.Host == "":
		r.fault(path+".url", "is "+shown(h.URL)+", not a web address", "write https://HOST/PATH")
	case u.Scheme == "http" && !slices.Contains([]string{"127.0.0.1", "::1", "localhost"}, u.Hostname()):
		r.fault(path+".url", "would cross the network in plaintext", "write https://")
	case u.Scheme != "http" && u.Scheme != "https":
		r.fault(path+".url", "is "+shown(h.URL)+", not a web address", "write https://HOST/PATH")
	}
	if h.TokenFile != "" {
		r.checkSecret(path+".token_file", h.TokenFile, true)
	}
	if h.CA != "" {
		r.checkFile(path+".ca", h.CA)
	}
}
