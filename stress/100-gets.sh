#!/usr/bin/env bash
# Do 100 clients that get a file at once all get it whole, from four workers?
# A good answer: every checksum the same, and the slowest client not much behind the fastest.
# Usage: stress/100-gets.sh [MEGABYTES=8] [CLIENTS=100]
. "$(dirname "$0")/lib.sh"
megabytes=${1:-8} clients=${2:-100}
make_file file.bin "$megabytes"
start_server --max-per-ip 10000 --workers 4
expected=$(sha256sum <"$work/root/file.bin")
begun=$(now)
jobs=()
for n in $(seq "$clients"); do
    (
        mkdir "$work/$n" && cd "$work/$n"
        start=$(now)
        "$programs/ftpclient" -q -c "get file.bin; bye" 127.0.0.1 "$port" || exit 1
        since "$start" >"$work/$n.time"
        [ "$(sha256sum <file.bin)" = "$expected" ] || exit 1
        rm file.bin
    ) &
    jobs+=($!)
done
failed=0
for job in "${jobs[@]}"; do wait "$job" || failed=$((failed + 1)); done
took=$(since "$begun")
cat "$work"/*.time >"$work/times" 2>/dev/null || true
verdict=$([ "$failed" = 0 ] && echo PASS || echo FAIL)
printf '%s 100-gets: %d of %d clients got %d MiB whole; %s; all in %.2f s; server CPU %s s\n' \
    "$verdict" $((clients - failed)) "$clients" "$megabytes" "$(figures "$work/times")" "$took" "$(cpu_seconds "$server")"
[ "$failed" = 0 ]
