# A database server: mysqld behind its gate, and mysqlhad, a member of etcd.
own_packages+=(mysqlhad)
units+=(systemd-sysctl mysqlha-mysqld mysqlhad)
readonly data=/var/lib/mysql
# Says that the package of MySQL came while this ran, to a host without data: what it has made is empty.
readonly fresh=$state/fresh-mysql
newly=

# has_data: something is in the data directory that is more than a new file system has.
has_data() { [[ -d $data && -n $(find "$data" -mindepth 1 -maxdepth 1 ! -name lost+found ! -name '.*' -print -quit) ]]; }

# usable TEXT tells whether a version of MySQL will do, as mysqld or apt tell it.
usable() { [[ $1 != *MariaDB* ]] && dpkg --compare-versions "$(grep -oE '[0-9]+\.[0-9]+\.[0-9]+' <<<"$1" | head -n 1)" ge 8.4; }

look() {
  local said name
  if [[ -x /usr/sbin/mysqld ]]; then
    said=$(/usr/sbin/mysqld --version 2>&1) || :
    usable "$said" || fail "/usr/sbin/mysqld is ${said#*Ver }" "mysqlha needs MySQL 8.4 or newer: upgrade it first"
  else
    for name in mysql-community-server mysql-server; do
      said=$(apt-cache policy "$name" 2>/dev/null | sed -n 's/^ *Candidate: //p')
      if [[ -n $said ]] && usable "$said"; then
        newly=$name
        break
      fi
    done
    [[ -n $newly ]] || fail "there is no MySQL here, and apt knows none of 8.4 or newer" \
      "set up MySQL's repository (https://dev.mysql.com/downloads/repo/apt/), apt-get update, and run this again"
  fi
  # A server with data is never touched, unless it is one that this has made.
  if has_data && [[ ! -e $fresh && ! -e /var/lib/mysqlha/control.password ]]; then
    fail "$data has data that is not of this site: nothing was touched" \
      "to take that server into a cluster, see the README (A cluster that runs already); if it is not needed: systemctl disable --now mysql && mv $data $data.former"
  fi
}

# new_mysql installs it; the package makes a server and starts it.
new_mysql() {
  : >"$fresh"
  fetched "$newly"
}

# put_aside takes what the package has made out of the way.
put_aside() {
  systemctl disable -q --now mysql.service 2>/dev/null || :
  ! grep -qsx mysqld /proc/[0-9]*/comm || fail "a mysqld runs already" "stop it: the one that the package has made is not wanted"
  mv -T "$data" "$data.empty-$(date +%s)"
}

prepare() {
  [[ -z $newly ]] || change "install $newly" new_mysql
  if [[ -e $fresh && ! -e /var/lib/mysqlha/control.password ]] && has_data; then
    change "put the empty server that the package has made aside" put_aside
  fi
  # mysqld started behind the gate from now on.
  ! systemctl is-enabled -q mysql.service 2>/dev/null || change "disable mysql.service" systemctl disable -q --now mysql.service
  local rules=/etc/apparmor.d/local/usr.sbin.mysqld
  if [[ -e /etc/apparmor.d/usr.sbin.mysqld ]] && ! grep -qsF /etc/mysqlha/ $rules; then
    change "let mysqld read its certificate (AppArmor)" confine $rules
  fi
}

confine() {
  echo '/etc/mysqlha/*.{crt,key} r,' >>"$1"
  quietly "AppArmor does not take its rules" "see what it says above" apparmor_parser -r /etc/apparmor.d/usr.sbin.mysqld
}

# judge compares what mysqld would start with, of all its option files, with what it needs.
judge() {
  local said name value has
  said=$(/usr/sbin/mysqld --print-defaults) || fail "mysqld does not tell its options" "see /usr/sbin/mysqld --print-defaults"
  while IFS='=' read -r name value; do
    name=${name//[[:space:]]/} value=${value%%#*}
    [[ $name =~ ^[a-z_]+$ && $name != plugin_load_add ]] || continue
    has=$(tr ' ' '\n' <<<"$said" | awk -F= -v name="$name" '{n = substr($1, 3); gsub("-", "_", n)} n == name {v = NF > 1 ? $2 : "ON"} END {print v}')
    [[ $(plain "$has") == "$(plain "$value")" ]] || fail "mysqld would start with $name = ${has:-nothing}, and needs$value" \
      "have MySQL read /etc/mysql/conf.d last, or take $name out of its other files: grep -rnE '${name//_/[-_]}' /etc/my.cnf /etc/mysql"
  done </etc/mysql/conf.d/mysqlha.cnf
  [[ -e /var/lib/mysqlha/control.password ]] || change "make a new, empty server" new_server
}

# plain is the value of an option without blanks, and with one word for yes.
plain() { tr -d '[:space:]' <<<"$1" | sed -E 's/^(1|on|true|TRUE)$/ON/'; }

new_server() {
  [[ -d $data ]] || install -d -o mysql -g mysql -m 0750 "$data"
  install -d -o mysql -g mysql /run/mysqld
  quietly "the server cannot be made" "see what it says above; what is in $data then is a half of one: rm -r $data" \
    runuser -u mysql -- mysqlhad init -- /usr/sbin/mysqld
  rm -f "$fresh"
}

# finish: the hosts of a cluster must not be changed faster than it can follow. A host is done when its replica is in
# sync again, where the cluster takes writes.
finish() {
  local end=$((SECONDS + wait_seconds))
  while mysqlha status --config /etc/mysqlha/mysqlhad.yaml >/dev/null 2>&1 && ! in_sync; do
    ((SECONDS < end)) || fail "this server is not in sync yet" "see mysqlha status --config /etc/mysqlha/mysqlhad.yaml, and go on with the next host when it is"
    sleep 0.5
  done
}

# status ROLE prints the servers of that role, as this host's daemon knows them, while the cluster takes writes.
status() {
  local said
  said=$(mysqlha status --config /etc/mysqlha/mysqlhad.yaml 2>/dev/null) || return
  awk -v role="$1" '$2 == role' <<<"$said"
}

in_sync() {
  { status primary && status replica; } | awk -F '  +' -v me="$host" '$1 == me && ($2 == "primary" || $6 == "yes") {found = 1} END {exit !found}'
}

# make_account makes the application's account, where this is the primary.
make_account() {
  local primary='' end=$((SECONDS + wait_seconds))
  until primary=$(status primary | awk '{print $1}') && [[ -n $primary ]]; do
    ((SECONDS < end)) || fail "the cluster has no primary that takes writes" "install all database hosts first; see mysqlha status --config /etc/mysqlha/mysqlhad.yaml"
    sleep 0.5
  done
  if [[ $primary != "$host" ]]; then
    say "the primary is $primary: the application's account is made there"
    return
  fi
  say "make the application's account, if it is not there"
  quietly "the application's account cannot be made" "see what mysql says above" account_sql
}

account_sql() { mysql --socket=/run/mysqld/mysqld.sock --user=root <"$here/account.sql"; }
