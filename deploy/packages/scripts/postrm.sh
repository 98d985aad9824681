reload
# Only dpkg purges.
if [ "$1" = purge ]; then
  purge
  rmdir /etc/mysqlha 2>/dev/null || :
fi
