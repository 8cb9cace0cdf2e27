#!/usr/bin/env bash
# Runs a script of this folder in a kernel of its own, User Mode Linux, as root: for machines whose limits are too low
# (descriptors, for a crowd of 50,000) or whose kernel lacks something (netem, for paths.sh). That kernel has one processor
# and is slow: what it shows is whether, not how fast.
# Usage: stress/uml.sh SCRIPT [ARGUMENTS...], as in stress/uml.sh stress/paths.sh 3
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
command -v linux.uml >/dev/null || { echo "SKIP uml: not installed (apt-get install user-mode-linux)"; exit 0; }
command -v insmod >/dev/null || echo "no insmod, so no veth and netem for paths.sh (apt-get install kmod)" >&2
script=$(realpath "$1")
shift
# What it runs first, instead of an init. It lies where its own /tmp does not hide it.
mkdir -p "$here/target"
init=$(mktemp "$here/target/uml.XXXXXX")
trap 'rm -f "$init"' EXIT INT TERM
cat >"$init" <<INIT
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-}
[ -n "\$CARGO_TARGET_DIR" ] || unset CARGO_TARGET_DIR
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs run /run; mount -t tmpfs -o size=80% tmp /tmp
ip link set lo up
echo 1100000 >/proc/sys/fs/file-max; echo 1048576 >/proc/sys/fs/nr_open
echo 1025 65000 >/proc/sys/net/ipv4/ip_local_port_range
for module in sch_netem veth; do
    insmod "\$(find /usr/lib/uml/modules/\$(uname -r) -name \$module.ko)" 2>/dev/null
done
ulimit -n 1000000
cd $here
echo BEGIN
# Through a pipe: not a terminal, no progress.
bash $script $* 2>&1 | cat
echo END
echo o >/proc/sysrq-trigger; sleep 100
INIT
chmod +x "$init"
linux.uml rootfstype=hostfs rootflags=/ ro mem="${UML_MEMORY:-10G}" init="$init" con=null con0=fd:0,fd:1 </dev/null 2>&1 |
    sed -un "/^BEGIN/,/^END/p" | sed -u "1d;\$d"
