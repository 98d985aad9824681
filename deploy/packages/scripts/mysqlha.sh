prepare() { :; }

refuse() { :; }

# The rules stay loaded, as they do when the unit is stopped.
purge() {
  rm -f /etc/mysqlha/site.yaml /etc/mysqlha/mysqlha.yaml
  rm -rf /var/lib/mysqlha-firewall
}
