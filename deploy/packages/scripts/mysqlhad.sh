state=/var/lib/mysqlha

# The folder is mysqld's user's, who makes a new server before any unit has started. It may
# already be a redirector's: then its unit has given it to that user.
prepare() {
  systemd-sysusers mysqlhad.conf
  [ -e "$state" ] || install -d -o mysql -g mysql -m 0700 "$state"
}

# Without its unit systemd would no longer know how this mysqld must be stopped, and a commit
# that waits for replicas could be answered OK.
refuse() {
  if running mysqlha-mysqld.service; then
    say "mysqld runs behind the start gate of this package: move the primary if it is here (mysqlha switchover), then systemctl stop mysqlha-mysqld" >&2
    exit 1
  fi
}

# What mysqld reads stays (its certificate, the authority's), and so does all data: also that
# of a mysqld in this folder, and what a server gave up to come back.
purge() {
  rm -f /etc/mysqlha/mysqlhad.yaml /etc/mysqlha/host.crt /etc/mysqlha/host.key /etc/mysqlha/tokens
  [ -d "$state" ] || return 0
  kept=$(find "$state/" -xdev \( -name 'replaced-*' -o -name auto.cnf -o -name ibdata1 -o -name '*.ibd' \) -print)
  if [ -n "$kept" ]; then
    say "$state stays: it holds data of MySQL ($(echo "$kept" | head -n 1))"
  else
    rm -rf --one-file-system "$state"
  fi
}
