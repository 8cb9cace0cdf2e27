#!/usr/bin/env bash
# Large crowds: 1,000 clients that each download 1 MiB at once, and 1,000 and 10,000 sessions of which one in a hundred has a
# command under way at any time. How long do they wait, how fairly, and what does it cost the server?
# A good answer: ahead of pyftpdlib and unFTP in each row, and a command among 10,000 sessions costs at most 1.1 times the
# processor time of a command among 1,000. Prints a Markdown table.
# Usage: stress/crowds.sh [ROUNDS=5] [SECONDS=1]
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/peers.sh"
rounds=${1:-5} seconds=${2:-1}
command -v python3 >/dev/null || { echo "SKIP crowds: python3 is not installed"; exit 0; }
trap finish_peers EXIT INT TERM
mkdir -p "$work/root" && chmod 755 "$work" "$work/root"
head -c 1048576 /dev/urandom >"$work/root/file"
start_server --workers 4 --no-fsync --max-clients 100000 --max-per-ip 100000
[ "$(ulimit -n)" -gt 10100 ] || { echo "SKIP crowds: ulimit -n is $(ulimit -n), and 10,000 sessions need more"; exit 0; }
peers+=("poolftpd $server $port anonymous:x@")
start_pyftpdlib && start_unftp
# A load that a server does not finish is reported.
set -o pipefail

# load NAME OPTIONS...: puts a load to every server, one after the other.
load() {
    local name=$1 server_name pid peer_port login
    shift
    for peer in "${peers[@]}"; do
        read -r server_name pid peer_port login <<<"$peer"
        timeout 60 "$programs/ftpbench" --json -t "$seconds" -u "$login" --pid "$pid" "$@" 127.0.0.1 "$peer_port" \
            2>"$work/failure" | sed "s/^{/{\"case\":\"$name\",\"round\":$round,\"server\":\"$server_name\",/" >>"$work/results" ||
            echo "$name, $server_name: $(tail -n 1 "$work/failure")" >&2
    done
}
for round in $(seq "$rounds"); do
    load burst -l burst -n 1000 --path /file
    load crowd-1000 -l crowd -n 1000
    # Last in the round, because unFTP ends when it gets 10,000 sessions.
    load crowd-10000 -l crowd -n 10000
done
python3 - "$work/results" <<'END'
import collections, json, statistics, sys

rows = collections.defaultdict(dict)
with open(sys.argv[1]) as results:
    for row in map(json.loads, results):
        rows[row["server"]][row["case"], row["what"], row["round"]] = row
servers = list(rows)
MEASURES = [
    ("1,000 clients get 1 MiB at once, all, ms", "burst", "all of them", lambda row: row["p50"] * 1e3),
    ("1,000 clients get 1 MiB at once, p99 of a client, ms", "burst", "clients", lambda row: row["p99"] * 1e3),
    ("1,000 clients get 1 MiB at once, slowest/fastest", "burst", "clients", lambda row: row["spread"]),
    ("1,000 clients get 1 MiB at once, CPU s/GB", "burst", "clients", lambda row: row["server_cpu"] / row["bytes"] * 1e9),
]
for count in ("1,000", "10,000"):
    case = f"crowd-{count.replace(',', '')}"
    name = f"{count} sessions, 1 % active"
    MEASURES += [
        (f"{name}, commands/s", case, "NOOP", lambda row: row["done"] / row["seconds"]),
        (f"{name}, p99 of a command, ms", case, "NOOP", lambda row: row["p99"] * 1e3),
        (f"{name}, CPU µs/command", case, "NOOP", lambda row: row["server_cpu"] / row["done"] * 1e6),
    ]

def figures(server, case, what, measure):
    found = {}
    for (of, row_what, number), row in rows[server].items():
        if (of, row_what) == (case, what) and row["done"] and not row["failed"]:
            found[number] = measure(row)
    return found

def cell(values):
    return f"{statistics.median(values):.3g}" if values else ""

print(f"| what | {' | '.join(servers)} |\n| --- |{' --- |' * len(servers)}")
for name, case, what, measure in MEASURES:
    print(f"| {name} | {' | '.join(cell(figures(server, case, what, measure).values()) for server in servers)} |")
def ratio(server):
    few, many = (figures(server, f"crowd-{count}", "NOOP", lambda row: row["server_cpu"] / row["done"]) for count in (1000, 10000))
    return [many[number] / few[number] for number in many if number in few]
print(f"| CPU of a command, 10,000 sessions / 1,000 | {' | '.join(cell(ratio(server)) for server in servers)} |")
END
