# An application server: the shop, and a mysqlhad that leads it to the primary and the replicas.
own_packages+=(mysqlhad)
units+=(mysqlha-redirector shop)

prepare() {
  id shop >/dev/null 2>&1 || change "make the user shop" useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin shop
}

judge() { systemctl daemon-reload; }

# An upgrade does not restart the redirector, since that ends sessions.
finish() {
  if [[ $(readlink "/proc/$(systemctl show --property MainPID --value mysqlha-redirector)/exe") == *'(deleted)' ]]; then
    say "mysqlha-redirector runs the former version still: systemctl restart mysqlha-redirector, when sessions may end"
  fi
}
