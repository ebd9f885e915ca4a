#!/bin/sh
# Starts nginx with the container's own DNS server, whose address differs between Docker and podman.
set -eu
awk '/^nameserver/ { print "resolver " $2 " valid=2s ipv6=off;"; exit }' /etc/resolv.conf >/tmp/resolver.conf
exec nginx -c /etc/nginx/frontend.conf -g 'daemon off;'
