# dpkg: configure; rpm: the number of versions that are there now.
case "$1" in
  configure | [1-9]*) ;;
  *) exit 0 ;;
esac

prepare
reload
for unit in $restarted; do
  if running "$unit"; then ask restart "$unit" || say "$unit could not be restarted: systemctl status $unit"; fi
done
if [ -n "$needed" ] && ! [ -e "$needed" ]; then
  say "nothing is started before there is $needed: see $next"
fi
