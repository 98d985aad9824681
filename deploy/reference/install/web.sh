# A web server: nginx ends HTTPS. Its log files are rotated as Debian's package says.
packages+=(nginx prometheus-nginx-exporter logrotate)
units+=(nginx prometheus-nginx-exporter)

judge() {
  judged nginx nginx -t -q
}
