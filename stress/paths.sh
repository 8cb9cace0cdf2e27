#!/usr/bin/env bash
# How fast is it over loopback, over a LAN, and over a path of 100 ms?
# A good answer: as fast as a bare sendfile or splice over the same path ("the limit"): no buffer of ours is in the way; and
# a hundred small files take our client hardly longer than one.
# Usage: stress/paths.sh [SECONDS=5]
#
# Needs root, and a kernel with network namespaces, veth and netem; where there is none, stress/uml.sh has one.
. "$(dirname "$0")/lib.sh"
seconds=${1:-5}
skip() { echo "SKIP paths: $1"; exit 0; }
[ "$(id -u)" = 0 ] || skip "it makes network namespaces, for which it must be root"
[ -x "$programs/examples/bare" ] || { echo "build first: cargo build --release --bins --examples" >&2; exit 2; }
command -v python3 >/dev/null || skip "python3 is not installed"
here_ns=pool-$$-here there_ns=pool-$$-there
finish_paths() {
    for namespace in $here_ns $there_ns; do
        # A namespace that is deleted lives on with the servers in it.
        { ip netns pids $namespace | xargs -r kill; ip netns del $namespace; } 2>/dev/null || true
    done
    finish
}
trap finish_paths EXIT INT TERM
ip netns add $here_ns 2>/dev/null && ip netns add $there_ns || skip "this kernel has no network namespaces"
here() { ip netns exec $here_ns "$@"; }
there() { ip netns exec $there_ns "$@"; }
ip link add pool0 netns $here_ns type veth peer name pool1 netns $there_ns || skip "this kernel has no veth"
here ip addr add 10.77.0.1/24 dev pool0 && here ip link set pool0 up && here ip link set lo up
there ip addr add 10.77.0.2/24 dev pool1 && there ip link set pool1 up && there ip link set lo up

mkdir -p "$work/root/up" && chmod 755 "$work" && chmod 777 "$work/root/up"
head -c 268435456 /dev/urandom >"$work/root/big"
files=100
mkdir "$work/root/many" && head -c $((files * 1024)) /dev/urandom | (cd "$work/root/many" && split -a 3 -d -b 1024 - f)
# serve NAME PROGRAM...: in its namespace; says its port.
serve() { mkfifo "$work/$1.line"; here "${@:2}" >"$work/$1.line" & read -r line <"$work/$1.line"; echo "${line##*:}"; }
ours=$(serve ours "$programs/ftpserver" --root "$work/root" --port 0 --write --no-fsync --quiet)
limit=$(serve limit "$programs/examples/bare" "$work/root" 0.0.0.0)
# figure RUN ADDRESS PORT OPTIONS...: megabytes in a second.
figure() {
    local run=$1 address=$2 port=$3
    shift 3
    "$run" "$programs/ftpbench" --json -t "$seconds" "$@" "$address" "$port" |
        python3 -c 'import json, sys; r = json.loads(sys.stdin.readline()); print(f"""{r["bytes"] / r["seconds"] / 1e6:.0f}""")'
}
# files RUN COMMAND...: the seconds that a client needs to fetch all small files into an empty directory; whether it did.
files() {
    rm -rf "$work/fetched" && mkdir "$work/fetched"
    local begun
    begun=$(now)
    (cd "$work/fetched" && "$@" >/dev/null 2>&1) || true
    local took
    took=$(since "$begun")
    diff -rq "$work/root/many" "$work/fetched" >/dev/null && printf '%.2f' "$took" || printf 'failed'
}
small_files=()
# row NAME RUN ADDRESS
row() {
    local cells=() load at=ftp://$3:$ours/many
    for load in "download -n 1 --path /big" "download -n 4 --path /big" "upload -n 1 --directory /up" "upload -n 4 --directory /up"; do
        # shellcheck disable=SC2086
        cells+=("$(figure "$2" "$3" "$ours" -l $load) of $(figure "$2" "$3" "$limit" -l $load)")
    done
    printf '| %s |' "$1"; printf ' %s |' "${cells[@]}"; echo
    cells=("$(files "$2" "$programs/ftpclient" -q -c "mget *" "$at/")" "$(files "$2" "$programs/ftpclient" -q --stream -c "mget *" "$at/")")
    cells+=("$(files "$2" lftp -c "open $at; mget *")")
    small_files+=("$(printf '| %s |' "$1"; printf ' %s |' "${cells[@]}")")
}
finish_table() {
    echo; echo "| seconds for $files files of 1 KiB | ftpclient | ftpclient --stream | lftp |"; echo "| --- | --- | --- | --- |"
    printf '%s\n' "${small_files[@]}"
}
echo "| MB/s of the limit's | RETR, 1 stream | RETR, 4 | STOR, 1 | STOR, 4 |"
echo "| --- | --- | --- | --- | --- |"
row "loopback" here 127.0.0.1
row "veth pair" there 10.77.0.1
shape() { here tc qdisc replace dev pool0 root netem limit 100000 "$@" && there tc qdisc replace dev pool1 root netem limit 100000 "$@"; }
shape delay 0.2ms rate 1gbit 2>/dev/null || { finish_table; skip "this kernel has no netem: the rest of the tables"; }
row "LAN: 1 Gbit/s, 0.4 ms there and back" there 10.77.0.1
shape delay 50ms rate 1gbit
row "1 Gbit/s, 100 ms there and back" there 10.77.0.1
shape delay 50ms rate 1gbit loss 0.01%
row "the same, and one packet in 10,000 is lost" there 10.77.0.1
finish_table
