# The monitoring: Prometheus and Alertmanager.
packages+=(prometheus prometheus-alertmanager)
units+=(prometheus prometheus-alertmanager)

judge() {
  quietly "Prometheus does not take its configuration" "nothing was restarted; see what it says above" promtool check config /etc/prometheus/prometheus.yml
  quietly "Alertmanager does not take its configuration" "nothing was restarted; see what it says above" amtool check-config /etc/prometheus/alertmanager.yml
}
