# A database server: mysqld behind its gate, and mysqlhad, a member of etcd.
own_packages+=(mysqlhad)
units+=(systemd-sysctl mysqlha-mysqld mysqlhad)
readonly data=/var/lib/mysql
# Made by mysqlhad init when all else of a new server is done; adopt and docs/install.md make it, too.
readonly control=/var/lib/mysqlha/control.password
# Says that the package of MySQL came while this ran, to a host without data: what it has made is empty.
readonly fresh=$state/fresh-mysql
# Says that it was this that made the server, or began to.
readonly own_server=$state/own-server
newly=

# has_data: something is in the data directory, or where it leads to, that is more than a new file system has.
has_data() { [[ -d $data/ && -n $(contents -print -quit) ]]; }

contents() { find "$data/" -mindepth 1 -maxdepth 1 ! -name lost+found ! -name '.*' "$@"; }

# made_here: there is no more than what the package, or this, has made and nobody has used; a schema is a folder.
made_here() {
  [[ -e $fresh || -e $own_server ]] && [[ -z $(contents ! -type f ! -type s ! -name mysql ! -name performance_schema ! -name sys ! -name '#innodb_*' -print -quit) ]]
}

# elsewhere prints another data directory that MySQL's options name. Before there is a mysqld they may be there.
elsewhere() {
  local said one
  {
    if said=$(/usr/sbin/mysqld --print-defaults 2>/dev/null); then
      grep -oE -- '--(loose[-_])?datadir=[^[:space:]]+' <<<"$said"
    else
      grep -Rhs --include='*.cnf' -E '^[[:space:]]*(loose[-_])?datadir[[:space:]]*=' /etc/my.cnf /etc/mysql
    fi
  } | while IFS= read -r one; do
    one=${one#*=}
    one=$(tr -d "[:space:]\"'" <<<"${one%%#*}")
    [[ $(readlink -m "$one") == "$(readlink -m $data)" ]] || echo "$one"
  done | head -n 1 || :
}

# running prints what runs of MySQL here.
running() {
  local one
  for one in mysql mysqld mariadb; do
    ! systemctl is-active -q $one.service 2>/dev/null || echo "$one.service"
  done
  grep -lsxE 'mysqld|mariadbd' /proc/[0-9]*/comm | sed -E 's|.*/([0-9]+)/comm|the process \1|' || :
}

# behind_gate: the gate has the server, also while that stops.
behind_gate() { [[ $(systemctl show --property ActiveState --value mysqlha-mysqld.service 2>/dev/null) =~ ^(active|activating|deactivating|reloading)$ ]]; }

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
  check_data
}

# check_data: a server with data is never touched, unless it is one that this has made.
check_data() {
  local other runs
  [[ ! -L $data || -d $data/ ]] || fail "$data leads to $(readlink "$data"), where no folder is: nothing was touched" "see whether its disk is mounted"
  other=$(elsewhere)
  [[ -z $other ]] || fail "MySQL's options have the data directory $other, and the site's is $data: nothing was touched" \
    "to take that server into a cluster, see the README (A cluster that runs already); if it is not needed, take datadir out: grep -rn datadir /etc/my.cnf /etc/mysql"
  if [[ -e $control && ! -e $own_server ]]; then
    fail "$control is there, and this has not made it: the server was adopted, or installed by hand; nothing was touched" \
      "go on with this host by docs/install.md, and name the others to bundle/all; if its server is not needed: see that it has stopped, and move $data and $control elsewhere"
  fi
  if [[ ! -e $control ]] && has_data && ! made_here; then
    fail "$data has data that is not of this site: nothing was touched" \
      "to take that server into a cluster, see the README (A cluster that runs already); if it is not needed: stop it (systemctl disable --now mysql), and move what is in $data elsewhere"
  fi
  if ! behind_gate && [[ ! -e $fresh ]]; then
    runs=$(running | paste -sd ' ')
    [[ -z $runs ]] || fail "a MySQL runs here that is not the site's: $runs; nothing was touched" \
      "to take that server into a cluster, see the README (A cluster that runs already); if it is not needed, stop it and see that it does not start again"
  fi
}

# new_mysql installs it; the package makes a server and starts it. What a failed installation leaves may be used by
# somebody before the next run, and is looked at as anybody's; one that was interrupted is made up for.
new_mysql() {
  : >"$fresh"
  trap '[[ $? == 130 ]] || rm -f "$fresh"; release_starts' EXIT
  fetched "$newly"
  trap release_starts EXIT
}

# put_aside takes what the package has made out of the way. The data directory itself stays: it may be a mount point,
# or lead elsewhere.
put_aside() {
  local aside
  check_data
  if [[ -e $fresh ]]; then systemctl disable -q --now mysql.service 2>/dev/null || :; fi
  [[ -z $(running) ]] || fail "a mysqld runs already" "stop it: the one that the package has made is not wanted"
  aside=$data.empty-$(date +%s)
  install -d -m 0700 "$aside"
  quietly "the empty server cannot be put aside" "see what it says above: $aside needs the space" contents -exec mv -t "$aside" {} +
}

prepare() {
  [[ -z $newly ]] || change "install $newly" new_mysql
  if [[ ! -e $control ]] && has_data; then
    change "put the empty server that the package has made aside" put_aside
  fi
  if [[ $check == no ]]; then
    # What is put there from now on is somebody else's. The gate would stop it when it starts.
    rm -f "$fresh"
    check_data
  fi
  # mysqld is started behind the gate from now on. One that runs is not stopped.
  ! systemctl is-enabled -q mysql.service 2>/dev/null || change "disable mysql.service" systemctl disable -q mysql.service
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
      "nothing was restarted; before mysqld is started anew, have MySQL read /etc/mysql/conf.d last, or take $name out of its other files: grep -rnE '${name//_/[-_]}' /etc/my.cnf /etc/mysql"
  done </etc/mysql/conf.d/mysqlha.cnf
  [[ -e $control ]] || change "make a new, empty server" new_server
}

# plain is the value of an option without blanks, and with one word for yes.
plain() { tr -d '[:space:]' <<<"$1" | sed -E 's/^(1|on|true|TRUE)$/ON/'; }

new_server() {
  ! has_data || fail "$data has data since a moment ago: nothing was touched" "see what has put it there"
  mkdir -p "$data"
  install -d -o mysql -g mysql -m 0750 "$data/"
  install -d -o mysql -g mysql /run/mysqld
  : >"$own_server"
  quietly "the server cannot be made" "see what it says above, and run this again: what is in $data then is a half of one, and is put aside" \
    runuser -u mysql -- mysqlhad init -- /usr/sbin/mysqld
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
