#!/usr/bin/env bash
# While clients come and go, slave processes are killed and started anew: is any client lost but theirs?
# A good answer: every client that was greeted by a slave that lived succeeds, and every new client is greeted.
# Usage: stress/kill-a-slave.sh [CLIENTS=300] [KILLS=10]
. "$(dirname "$0")/lib.sh"
clients=${1:-300} kills=${2:-10}
make_file file.bin 1
start_server --max-per-ip 10000 --workers 2
"$programs/ftpslaves" --count 3 --workers 2 "localhost:$port" 2>/dev/null &
slaves=$!
processes() { "$programs/ftpserver" ctl status --port "$port" | awk '$2 ~ /^[0-9]+$/ { print $2 }'; }
until [ "$(processes | wc -l)" = 3 ]; do :; done
(
    for _ in $(seq "$kills"); do
        victim=$(processes | shuf -n 1)
        [ -z "$victim" ] || kill -9 "$victim" 2>/dev/null || true
        # Until it is back: each kill finds three again.
        until [ "$(processes | wc -l)" = 3 ]; do :; done
    done
) &
killer=$!
ungreeted=0 whole=0 cut=0
for n in $(seq "$clients"); do
    (cd "$work" && "$programs/ftpclient" -q -v --timeout 10 -c "get file.bin got-$n; bye" 127.0.0.1 "$port") 2>"$work/log" && ok=1 || ok=0
    if ! grep -q '^< 220 ' "$work/log"; then
        ungreeted=$((ungreeted + 1))
    elif [ "$ok" = 1 ] && cmp -s "$work/got-$n" "$work/root/file.bin"; then
        whole=$((whole + 1))
    else
        cut=$((cut + 1))
    fi
    rm -f "$work/got-$n"
done
wait "$killer"
verdict=PASS
# One client at a time: at most one is lost with each slave that is killed.
[ "$ungreeted" -le "$kills" ] && [ $((ungreeted + cut)) -le "$kills" ] || verdict=FAIL
printf '%s kill-a-slave: %d kills; of %d clients %d got their file, %d were cut off with their slave, %d were never greeted\n' \
    "$verdict" "$kills" "$clients" "$whole" "$cut" "$ungreeted"
kill "$slaves" && wait "$slaves"
[ "$verdict" = PASS ]
