say() { echo "$package: $*"; }

# booted: systemd runs here. It does not in an image that is being made.
booted() { [ -d /run/systemd/system ]; }

running() { booted && systemctl --quiet is-active "$1"; }

# ask ACTION UNIT has systemd do it. Debian asks first whether this host allows that (policy-rc.d).
ask() {
  if command -v deb-systemd-invoke >/dev/null; then deb-systemd-invoke "$@"; else systemctl "$@"; fi
}

reload() { if booted; then systemctl daemon-reload || :; fi; }
