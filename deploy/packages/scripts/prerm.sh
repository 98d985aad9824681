# dpkg: remove, and upgrade, which is nothing to do here; rpm: 0 when no version is left.
case "$1" in
  remove | 0) ;;
  *) exit 0 ;;
esac

refuse
for unit in $units; do
  if running "$unit"; then ask stop "$unit"; fi
  if booted; then systemctl reset-failed "$unit" 2>/dev/null || :; fi
  # What was enabled would start again with the package, perhaps years later.
  if command -v systemctl >/dev/null; then systemctl --quiet --no-reload disable "$unit" || :; fi
done
