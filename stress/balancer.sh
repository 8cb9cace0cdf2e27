#!/usr/bin/env bash
# Do 100 concurrent gets through 4 slaves come out whole, and does each slave serve 25?
# A good answer: every checksum the same, 25 each, in process and as own processes.
# Usage: stress/balancer.sh [MEGABYTES=4] [CLIENTS=100]
. "$(dirname "$0")/lib.sh"
megabytes=${1:-4} clients=${2:-100} status=0
make_file file.bin "$megabytes"
expected=$(sha256sum <"$work/root/file.bin")

# round NAME: all clients at once, then how many each slave greeted.
round() {
    rm -rf "$work/clients" && mkdir "$work/clients"
    jobs=()
    begun=$(now)
    for n in $(seq "$clients"); do
        (
            mkdir "$work/clients/$n" && cd "$work/clients/$n"
            "$programs/ftpclient" -q -v -c "get file.bin; bye" 127.0.0.1 "$port" 2>log || exit 1
            [ "$(sha256sum <file.bin)" = "$expected" ] || exit 1
            rm file.bin
        ) &
        jobs+=($!)
    done
    failed=0
    for job in "${jobs[@]}"; do wait "$job" || failed=$((failed + 1)); done
    shares=$(cat "$work"/clients/*/log | sed -n 's/^< 220 slave \([0-9]*\) .*/\1/p' | sort -n | uniq -c | awk '{ printf "%s%s", sep, $1; sep = " " }')
    verdict=PASS
    [ "$failed" = 0 ] || verdict=FAIL
    [ "$(tr ' ' '\n' <<<"$shares" | sort -n | awk 'NR == 1 { low = $1 } { high = $1 } END { print (NR == 4 && high - low <= 1) }')" = 1 ] || verdict=FAIL
    [ "$verdict" = PASS ] || status=1
    printf '%s balancer, %s: %d of %d clients got %d MiB whole; shares %s; all in %.2f s\n' \
        "$verdict" "$1" $((clients - failed)) "$clients" "$megabytes" "$shares" "$(since "$begun")"
}

start_server --max-per-ip 10000 --slaves 4 --workers 2
round "4 slaves in process"
kill "$server" && wait "$server"
rm -f "$work/ready"
start_server --max-per-ip 10000 --workers 2
"$programs/ftpslaves" --count 4 --workers 2 "localhost:$port" 2>/dev/null &
slaves=$!
until [ "$("$programs/ftpserver" ctl status --port "$port" | grep -c serving)" = 5 ]; do :; done
round "4 slave processes"
kill "$slaves" && wait "$slaves"
exit "$status"
