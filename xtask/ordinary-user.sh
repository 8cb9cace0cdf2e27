#!/bin/sh
# Runs a program as nobody, with 1024 descriptors, in a network of its own that has loopback and no IPv6.
set -eu
home=$(mktemp -d)
chmod 777 "$home"
export HOME="$home" LC_ALL=tr_TR.UTF-8 TZ=Asia/Kathmandu
exec unshare --net sh -euc '
    ip link set lo up
    echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
    ulimit -n 1024
    exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"' sh "$@"
