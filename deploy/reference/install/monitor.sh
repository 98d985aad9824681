# The monitoring: Prometheus and Alertmanager.
packages+=(prometheus prometheus-alertmanager)
units+=(prometheus prometheus-alertmanager)

judge() {
  judged Prometheus promtool check config /etc/prometheus/prometheus.yml
  judged Alertmanager amtool check-config /etc/prometheus/alertmanager.yml
}
