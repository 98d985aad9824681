# The way from an empty machine to a host of the site.
account=no
for argument; do
  case $argument in
    --check | --dry-run) check=yes ;;
    --yes) yes=yes ;;
    --account) account=yes ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 2 ;;
  esac
done

check_host
if [[ $account == yes ]]; then
  [[ $tier == db ]] || fail "the application's account is made on a database host" "say --account there"
  hook make_account
  exit
fi
exec {lock}>/run/mysqlha-install.lock
flock -n "$lock" || fail "another install runs on this machine" "wait until it is done"
hook look
trap release_starts EXIT
# Whatever it is in the middle of, its output may go elsewhere.
exec {tell}>&2
trap 'say "interrupted: run it again" >&"$tell"; exit 130' INT TERM HUP
# One that was killed may have left it.
release_starts
[[ $check == yes ]] || mkdir -p "$state/owed"
recall

install_packages
hook prepare
install_files
apply_firewall
if [[ $check == no ]]; then hook judge; fi
settle mysqlha-firewall
for unit in "${units[@]}"; do
  settle "$unit"
done
if [[ $check == yes ]]; then
  if ((changes > 0)); then say "$(counted $changes) would be made"; else say "nothing would be changed"; fi
  exit
fi
await_all
hook finish
if ((changes > 0)); then say "done, $(counted $changes)"; else say "done, nothing had to be changed"; fi
