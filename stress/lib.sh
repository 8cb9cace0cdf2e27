# Shared by the scripts of this folder: a server in a temporary root that ends with the script, and figures.
# shellcheck shell=bash
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
programs=${CARGO_TARGET_DIR:-$here/target}/release
[ -x "$programs/ftpserver" ] || { echo "build first: cargo build --release" >&2; exit 2; }
work=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT INT TERM

# start_server [OPTIONS...]: serves $work/root, sets $server and $port.
start_server() {
    mkdir -p "$work/root"
    ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
    mkfifo "$work/ready"
    "$programs/ftpserver" --root "$work/root" --bind 127.0.0.1 --port 0 --quiet "$@" >"$work/ready" &
    server=$!
    read -r line <"$work/ready"
    port=${line##*:}
}

# make_file NAME MEGABYTES: bytes without pattern, in the root.
make_file() { mkdir -p "$work/root"; head -c $(($2 * 1024 * 1024)) /dev/urandom >"$work/root/$1"; }

now() { date +%s.%N; }

# since TIME: seconds that have passed.
since() { awk -v from="$1" -v to="$(now)" 'BEGIN { print to - from }'; }

# figures FILE: slowest, median and fastest of a file with one number a line.
figures() {
    sort -n "$1" | awk '{ v[NR] = $1 } END { printf "slowest %.2f s, median %.2f s, fastest %.2f s", v[NR], v[int((NR + 1) / 2)], v[1] }'
}

# cpu_seconds PID: user and system time so far.
cpu_seconds() { awk -v t="$(getconf CLK_TCK)" '{ print ($14 + $15) / t }' "/proc/$1/stat"; }
