# A balancer: HAProxy, and keepalived, which holds the public address or leaves it to another.
packages+=(haproxy keepalived iproute2 ca-certificates)
units+=(haproxy keepalived)

prepare() {
  # keepalived must know on which interface. Before the packages are there, nobody can tell.
  [[ $check == no ]] || command -v ip >/dev/null || return 0
  interface=$(ip -o -4 addr show | awk -v at="$address" '{split($4, a, "/")} a[1] == at {print $2; exit}')
  [[ -n $interface ]] || fail "no interface has the address $address" "see ip addr"
}

judge() {
  judged HAProxy haproxy -c -q -f /etc/haproxy/haproxy.cfg
  judged keepalived keepalived --config-test --use-file=/etc/keepalived/keepalived.conf
}
