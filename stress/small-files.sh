#!/usr/bin/env bash
# What does block mode save, where many small files go over one data connection?
# A good answer: more files a second than in stream mode, which opens a connection for each; every file byte-exact.
# Usage: stress/small-files.sh [FILES=10000] [BYTES=1024] [ROUNDS=3]
. "$(dirname "$0")/lib.sh"
files=${1:-10000} bytes=${2:-1024} rounds=${3:-3}
mkdir -p "$work/root/many"
head -c $((files * bytes)) /dev/urandom | (cd "$work/root/many" && split -a 5 -b "$bytes" - f.)
start_server --max-per-ip 10000 --workers 4
sum() { (cd "$1" && cat f.* | sha256sum); }
expected=$(sum "$work/root/many")
failed=0
# round NAME OPTION: fetches all of them; a line "seconds, server CPU seconds" goes to NAME.
round() {
    mkdir "$work/here"
    local cpu begun
    cpu=$(cpu_seconds "$server") begun=$(now)
    (cd "$work/here" && "$programs/ftpclient" -q $2 -e -c "cd many; mget *" 127.0.0.1 "$port") || failed=1
    echo "$(since "$begun") $(awk -v a="$cpu" -v b="$(cpu_seconds "$server")" 'BEGIN { print b - a }')" >>"$work/$1"
    [ "$(sum "$work/here")" = "$expected" ] || failed=1
    rm -r "$work/here"
}
# Interleaved: what else the machine does hits both.
for _ in $(seq "$rounds"); do
    round block ""
    round stream --stream
done
best() { sort -n "$work/$1" | head -n 1; }
read -r block block_cpu <<<"$(best block)"
read -r stream stream_cpu <<<"$(best stream)"
verdict=$([ "$failed" = 0 ] && echo PASS || echo FAIL)
awk -v v="$verdict" -v n="$files" -v s="$bytes" -v b="$block" -v t="$stream" -v bc="$block_cpu" -v tc="$stream_cpu" 'BEGIN {
    printf "%s small-files: %d files of %d bytes, each with its checksum: %.0f a second in block mode, %.0f in stream mode (%.2f times as many); server CPU %.0f and %.0f us a file\n",
        v, n, s, n / b, n / t, t / b, bc / n * 1e6, tc / n * 1e6 }'
[ "$failed" = 0 ]
