#!/usr/bin/env bash
# How does the cost grow with the number of workers, and with that of sessions?
# A good answer: flat, but for the bends that docs/scale.md explains. Prints two Markdown tables, and draws the second.
# Usage: stress/scale.sh [SECONDS=1] [PLOT.svg]
. "$(dirname "$0")/lib.sh"
seconds=${1:-1} plot=${2:-}
command -v python3 >/dev/null || { echo "SKIP scale: python3 is not installed"; exit 0; }
[ -z "$plot" ] || command -v gnuplot >/dev/null || { echo "SKIP scale: gnuplot is not installed"; exit 0; }
ulimit -Hn 200000 2>/dev/null || true
make_file big 256
make_file medium 1
head -c 1024 /dev/urandom >"$work/root/small"
# bench OPTIONS...: its lines of JSON.
bench() { "$programs/ftpbench" --json -t "$seconds" --pid "$server" "$@" 127.0.0.1 "$port"; }
# serve OPTIONS...: another server than the one before.
serve() {
    [ -z "$server" ] || { kill "$server" && wait "$server" || true; }
    rm -f "$work/ready"
    start_server --max-clients 100000 --max-per-ip 100000 "$@"
}
# row KEY LOADS: the lines on standard input as a row of a table.
row() {
    grep . | python3 -c '
import json, sys
rows = {(r["load"], r["what"]): r for r in map(json.loads, sys.stdin)}
cells = [sys.argv[1]]
wanted = sys.argv[2].split()
def cell(key, text):
    if key[0] in wanted:
        cells.append(text(rows[key]) if key in rows else "")
cell(("download", "RETR"), lambda r: f"""{r["bytes"] / r["seconds"] / 1e9:.1f} ({r["server_cpu"] / r["bytes"] * 1e9:.2f})""")
cell(("small", "files"), lambda r: f"""{r["done"] / r["seconds"]:.0f} ({r["server_cpu"] / r["done"] * 1e6:.0f})""")
cell(("login", "logins"), lambda r: f"""{r["done"] / r["seconds"]:.0f} ({r["server_cpu"] / r["done"] * 1e6:.0f})""")
cell(("interactive", "commands"), lambda r: f"""{r["p50"] * 1e3:.2f} / {r["p99"] * 1e3:.2f}""")
cell(("burst", "all of them"), lambda r: f"""{r["p50"] * 1e3:.0f}""")
cell(("burst", "clients"), lambda r: f"""{r["spread"]:.2f}""")
cell(("idle", "NOOP"), lambda r: f"""{r["server_kib"] / r["clients"]:.2f}""")
cell(("idle", "NOOP"), lambda r: f"""{r["done"] / r["seconds"]:.0f}""")
cell(("idle", "NOOP"), lambda r: f"""{r["p99"] * 1e3:.2f}""")
print("| " + " | ".join(cells) + " |")' "$1" "$2"
}
echo "| workers | RETR, 4 streams: GB/s (CPU s/GB) | files of 1 KiB, 16 sessions: a second (CPU µs) | logins, 16 at once: a second (CPU µs) | NOOP beside 4 downloads: p50 / p99 ms |"
echo "| --- | --- | --- | --- | --- |"
for workers in 1 2 4 8; do
    serve --workers $workers
    { bench -l download --path /big; bench -l small --path /small; bench -l login; bench -l interactive --path /big; } | row $workers 'download small login interactive'
done
echo
echo "| workers | sessions | files of 1 KiB: a second (CPU µs) | that many get 1 MiB at once: ms | slowest/fastest | KiB each, idle | NOOP of all, 16 at a time: a second | p99 ms |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- |"
for workers in 1 2 4 8; do
    for sessions in 10 100 1000 10000; do
        [ $((sessions + 100)) -lt "$(ulimit -Hn)" ] || { echo "| $workers | $sessions | not here: ulimit -Hn is $(ulimit -Hn) |"; continue; }
        serve --workers $workers
        {
            # Ten thousand that all transfer are more than one address of loopback has ports for.
            [ $sessions -gt 1000 ] || bench -l small -n $sessions --path /small
            [ $sessions -gt 1000 ] || bench -l burst -n $sessions --path /medium
            bench -l idle -n $sessions
        } | row "$workers | $sessions" 'small burst idle' | tee -a "$work/grown"
    done
done
[ -n "$plot" ] || exit 0
# What gnuplot reads: a block of lines for each number of workers; columns as in the table.
awk -F ' *[|] *' '{ sub(/ .*/, "", $4); if ($2 != before) printf "\n\n"; before = $2; print $2, $3, $4 == "" ? "-" : $4, $8, $9 }' "$work/grown" >"$work/columns"
gnuplot <<END
set terminal svg size 900,360 font "sans,12" background "white"
set output "$plot"
set multiplot layout 1,2
set datafile missing "-"
set logscale x
set xlabel "sessions"
set yrange [0:*]
set key bottom
set title "files of 1 KiB a second"
plot for [block=0:3] "$work/columns" index block using 2:3 with linespoints title sprintf("%d workers", 2**block)
set title "NOOP a second, of all sessions, 16 at a time"
plot for [block=0:3] "$work/columns" index block using 2:4 with linespoints title sprintf("%d workers", 2**block)
END
