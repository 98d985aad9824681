# What the hosts of all tiers share. The lines above say which host this is; a tier's own part and main.sh follow.

export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 022
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
# What is remembered from run to run: which files are ours, which server, and what services still need because one of theirs has
# changed, so that a run that was cut off is made up for.
readonly state=/var/lib/mysqlha-site
# Keeps packages from starting a service before it has its configuration.
readonly policy=/usr/sbin/policy-rc.d policy_mark='# mysqlha: while install runs'
readonly wait_seconds=60
# Every host's: the firewall, and what the monitoring asks. The tier adds its own.
packages=(nftables prometheus-node-exporter)
own_packages=(mysqlha)
units=(prometheus-node-exporter)
check=no yes=no changes=0 interface=
declare -A owed=()

usage() {
  cat <<USAGE
install [--check] [--yes]
  Makes this machine the host $host of the site. A second run changes only what is otherwise than it should be.
  --check   only says what it would do
  --yes     keeps the firewall's rules without asking: on a console, where nobody can be locked out
USAGE
}

say() { printf '%s: %s\n' "$host" "$*"; }

counted() { if (($1 == 1)); then echo "1 change"; else echo "$1 changes"; fi; }

# fail WHAT REMEDY ends it.
fail() {
  printf '%s: %s\n  %s\n' "$host" "$1" "$2" >&2
  exit 1
}

# change WHAT COMMAND… says what it does, and does it; with --check it only says so.
change() {
  changes=$((changes + 1))
  if [[ $check == yes ]]; then
    say "would $1"
    return
  fi
  say "$1"
  shift
  "$@"
}

# quietly WHAT REMEDY COMMAND… shows what a command says only if it fails.
quietly() {
  local what=$1 remedy=$2 said
  shift 2
  said=$("$@" 2>&1) || {
    printf '%s\n' "$said" | tail -n 20 >&2
    fail "$what" "$remedy"
  }
}

# judged PROGRAM COMMAND… has a program judge its configuration, which is in place already.
judged() {
  local program=$1
  shift
  quietly "$program does not take its configuration" \
    "nothing was restarted, but the next start would take these files: mend what it says above and run this again before $program is started anew; what was there before the site's is NAME.orig" "$@"
}

installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# among ADDRESS NETWORK… tells whether an address of IPv4 is in one of the networks.
among() {
  local one=$1 net bits
  shift
  for net; do
    bits=32
    [[ $net != */* ]] || bits=${net#*/}
    [[ ${net%/*} != *:* ]] || continue
    (( $(number "$one") >> (32 - bits) == $(number "${net%/*}") >> (32 - bits) )) && return
  done
  return 1
}

number() {
  local a b c d
  IFS=. read -r a b c d <<<"$1"
  echo $(((a << 24) + (b << 16) + (c << 8) + d))
}

# check_host looks at what no host can do without, before anything is changed.
check_host() {
  ((EUID == 0)) || fail "this needs root" "run it as root: sudo $0"
  [[ -d /run/systemd/system ]] || fail "no systemd runs here" "use a host that is booted with systemd"
  local ID='' VERSION_ID='' PRETTY_NAME='an unknown system'
  # shellcheck source=/dev/null
  . /etc/os-release
  case $ID in
    debian) ((${VERSION_ID:-0} >= 12)) ;;
    ubuntu) dpkg --compare-versions "${VERSION_ID:-0}" ge 24.04 ;;
    *) false ;;
  esac || fail "this is $PRETTY_NAME" "use Debian 12 or newer, or Ubuntu 24.04 or newer; docs/install.md tells of others"
  [[ $(dpkg --print-architecture) == "$arch" ]] ||
    fail "this machine is $(dpkg --print-architecture), and the bundle is for $arch" "make it for this one: make infra-bundle ARCH=$(dpkg --print-architecture)"
  [[ " $(hostname -I) " == *" $address "* ]] ||
    fail "the address $address is not on this machine, which has: $(hostname -I)" "install the folder of the host that this is, or set the address right in the description"
  local called
  called=$(hostname)
  [[ ${called%%.*} == "$host" ]] || fail "this machine is called $called" "give it the name that the description has: hostnamectl set-hostname $host"
  # The firewall lets in only who is described.
  if [[ -n ${SSH_CONNECTION:-} ]]; then
    local from port
    read -r from _ _ port <<<"$SSH_CONNECTION"
    [[ $from == *:* ]] || among "$from" "${admin[@]}" ||
      fail "you are logged in from $from, which the firewall would keep out" "write its network into admin in the description: it has ${admin[*]}"
    [[ $port == "$ssh_port" ]] ||
      fail "you are logged in at port $port, which the firewall would close" "write ports: {ssh: $port} into the description"
  fi
  local one had
  for one in "${own_packages[@]}"; do
    had=$(dpkg-query -W -f '${Version}' "$one" 2>/dev/null) || continue
    ! dpkg --compare-versions "$had" gt "$version" || fail "$one $had is here, and the bundle has the older $version" "make the bundle anew, of the newer version"
  done
}

# hold_starts keeps services of new packages from being started.
hold_starts() {
  [[ ! -e $policy ]] || return 0
  printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy.new"
  chmod 755 "$policy.new"
  mv -f "$policy.new" "$policy"
}

release_starts() { ! grep -qsxF "$policy_mark" "$policy" || rm -f "$policy"; }

fetch() {
  apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}

# fetched installs packages of the distribution; apt's lists may be old, or not there yet.
fetched() {
  hold_starts
  if ! fetch "$@" >/dev/null 2>&1; then
    quietly "apt cannot update its lists" "see whether this host reaches its mirror: once the firewall is up, packages in the description must have it" apt-get update -q
    quietly "apt cannot install $*" "see what it says above" fetch "$@"
  fi
  release_starts
}

ours() { quietly "our packages cannot be installed" "see what apt says above" fetch "$@"; }

repaired() {
  hold_starts
  quietly "dpkg cannot finish what it was interrupted in" "see what it says above" dpkg --configure -a --force-confdef --force-confold
  release_starts
}

install_packages() {
  local one missing=() files=()
  [[ -z $(dpkg --audit) ]] || change "have dpkg finish what it was interrupted in" repaired
  for one in "${packages[@]}"; do
    installed "$one" || missing+=("$one")
  done
  ((${#missing[@]} == 0)) || change "install ${missing[*]}" fetched "${missing[@]}"
  for one in "${own_packages[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status} ${Version}' "$one" 2>/dev/null) == "installed $version" ]] || files+=("$here/packages/${one}_${version}_$arch.deb")
  done
  ((${#files[@]} == 0)) || change "install ${own_packages[*]} $version" ours "${files[@]}"
}

# wanted FILE prints a file of the bundle as this host is to have it.
wanted() {
  if [[ $1 == *.conf ]]; then sed "s/@interface@/$interface/g" "$1"; else cat "$1"; fi
}

# put MODE OWNER FROM TO replaces a file at once.
put() {
  local new
  mkdir -p "${4%/*}"
  new=$(mktemp "$4.XXXXXX")
  wanted "$3" >"$new"
  chown "$2" "$new"
  chmod "$1" "$new"
  # What somebody else has put there is kept, as it is: what only root may read stays so.
  if ! grep -qsxF "$4" "$state/written"; then
    if [[ -e $4 ]]; then cp -p "$4" "$4.orig"; fi
    printf '%s\n' "$4" >>"$state/written"
  fi
  mv -fT "$new" "$4"
}

# owe UNIT VERB remembers what a service needs, before its file is changed. A restart is also a reload.
owe() {
  if [[ $2 == restart || -z ${owed[$1]:-} ]]; then owed[$1]=$2; fi
  if [[ $check == no ]]; then printf '%s\n' "${owed[$1]}" >"$state/owed/$1"; fi
}

# recall reads what a former run has left to do.
recall() {
  local file
  for file in "$state"/owed/*; do
    if [[ -e $file ]]; then owed[${file##*/}]=$(<"$file"); fi
  done
}

install_files() {
  local mode owner does path
  while read -r mode owner does path; do
    if [[ -f $path ]] && wanted "$here/files$path" | cmp -s - "$path"; then
      [[ $(stat -c '%a %U:%G' "$path") == "$mode $owner" ]] || change "give $path the owner $owner and the mode $mode" own "$mode" "$owner" "$path"
      continue
    fi
    [[ $does == - ]] || owe "${does#*:}" "${does%%:*}"
    change "write $path" put "$mode" "$owner" "$here/files$path" "$path"
  done <"$here/manifest"
}

own() { chown "$2" "$3" && chmod "$1" "$3"; }

apply_firewall() {
  # As the unit loads them: with the servers that the cluster was last heard to have.
  local as=(--host "$host" --site "$here/files/etc/mysqlha/site.yaml" --known /var/lib/mysqlha-firewall/servers.json)
  if command -v mysqlha >/dev/null && mysqlha firewall check "${as[@]}" >/dev/null 2>&1; then
    return
  fi
  if [[ $check == yes || $yes == yes || ${SSH_CONNECTION:-} == *.* ]]; then
    # Whoever is logged in by ssh can be so again: that was checked.
    change "load the firewall's rules" quietly "the firewall's rules cannot be loaded" "see what it says above" mysqlha firewall apply --yes "${as[@]}"
  elif [[ -t 0 ]]; then
    change "load the firewall's rules" mysqlha firewall apply "${as[@]}" || fail "the former rules of the firewall are back" "run this again, and say keep if you can log in"
  else
    fail "nobody can be asked whether the firewall's rules are to stay" "say --yes if you are not logged in over the network; with sudo: sudo env SSH_CONNECTION=\"\$SSH_CONNECTION\" $0"
  fi
}

# settle UNIT has a service run with all that its files say.
settle() {
  local unit=$1 verb=${owed[$1]:-}
  systemctl is-enabled -q "$unit" 2>/dev/null || change "enable $unit" systemctl enable -q "$unit"
  if ! systemctl is-active -q "$unit" 2>/dev/null; then
    change "start $unit" begin start "$unit"
  elif [[ $verb == tell ]]; then
    say "$unit takes its new options at its next start: mysqlha switchover, if this is the primary, then systemctl restart $unit"
  elif [[ -n $verb ]]; then
    change "$verb $unit" begin "$verb" "$unit"
  else
    return 0
  fi
  [[ $check == yes ]] || rm -f "$state/owed/$unit"
}

begin() {
  systemctl reset-failed "$2" 2>/dev/null || :
  quietly "$2 does not $1" "see journalctl -u $2" systemctl "$1" "$2"
}

# await_all returns when each service answers where others will look for it.
await_all() {
  local one at end=$((SECONDS + wait_seconds))
  for one in "${listens[@]}"; do
    at=${one#*=}
    until (: <>"/dev/tcp/${at%:*}/${at#*:}") 2>/dev/null; do
      if ((SECONDS >= end)); then
        journalctl --no-pager --output=cat --lines=10 --unit="${one%%=*}" >&2 || :
        fail "${one%%=*} does not answer at $at" "see journalctl -u ${one%%=*}"
      fi
      sleep 0.2
    done
  done
}

# hook NAME runs what a tier may have of its own: look, before anything is changed; prepare, for what its files need;
# judge, its configuration before any service takes it; finish, at the end.
hook() { ! declare -F "$1" >/dev/null || "$1"; }
