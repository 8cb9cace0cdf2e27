#!/usr/bin/env bash
# What does one command, one small file, one login cost in system calls, and in times that a thread of the server went to
# sleep and was woken?
# A good answer: little more than the bytes need. Prints a Markdown table, of every server that is installed.
# Usage: stress/calls.sh [SECONDS=1]
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/peers.sh"
seconds=${1:-1}
command -v strace >/dev/null || { echo "SKIP calls: strace is not installed"; exit 0; }
command -v python3 >/dev/null || { echo "SKIP calls: python3 is not installed"; exit 0; }
trap finish_peers EXIT INT TERM
mkdir -p "$work/root/up" "$work/root/d1000" && chmod 755 "$work" "$work/root" && chmod 777 "$work/root/up"
for size in 1024 65536 33554432; do head -c $size /dev/urandom >"$work/root/f$size"; done
(cd "$work/root/d1000" && seq -f 'file-%04g.txt' 1000 | xargs touch)
start_server --max-per-ip 10000 --workers 4 --write --no-fsync
peers+=("poolftpd $server $port anonymous:x@")
start_vsftpd && start_proftpd && start_pure_ftpd && start_pyftpdlib && start_unftp

# sleeps PID: how often its own threads have gone to sleep; what its children did for a client is gone with them.
sleeps() {
    cat /proc/"$1"/task/*/status 2>/dev/null | awk '/^voluntary/ { n += $2 } END { print n + 0 }'
}
# one PID PORT LOGIN LOAD...: calls and sleeps of each.
one() {
    local pid=$1 peer_port=$2 login=$3 before tracer
    shift 3
    bench() { timeout 40 "$programs/ftpbench" --json -t "$seconds" -u "$login" -n 1 "$@" 127.0.0.1 "$peer_port" 2>/dev/null | head -n 1; }
    before=$(sleeps "$pid")
    bench "$@" >"$work/quick"
    local slept=$(($(sleeps "$pid") - before))
    strace -f -c -o "$work/calls" -p "$pid" 2>"$work/attached" &
    tracer=$!
    until grep -q attached "$work/attached" 2>/dev/null; do kill -0 $tracer 2>/dev/null || break; done
    bench "$@" >"$work/traced"
    kill -INT $tracer 2>/dev/null && wait $tracer 2>/dev/null || true
    pkill -KILL -P "$pid" 2>/dev/null || true
    python3 - "$work" "$slept" <<'END'
import json, sys
work, slept = sys.argv[1], int(sys.argv[2])
def done(name):
    text = open(f"{work}/{name}").read()
    return json.loads(text)["done"] if text else 0
lines = [line.split() for line in open(f"{work}/calls")]
# % time, seconds, usecs/call, calls, errors (if any), total
calls = next((int(words[3]) for words in lines if words and words[-1] == "total"), 0)
traced, quick = done("traced"), done("quick")
if traced and quick:
    print(f"{calls / traced:.0f}" + (f" ({slept / quick:.1f})" if slept > quick / 10 else ""))
END
}
echo "| one of | $(for peer in "${peers[@]}"; do printf '%s | ' "${peer%% *}"; done)"
echo "| --- |$(for peer in "${peers[@]}"; do printf ' --- |'; done)"
row() {
    local name=$1
    shift
    printf '| %s |' "$name"
    for peer in "${peers[@]}"; do
        read -r _ pid peer_port login <<<"$peer"
        printf ' %s |' "$(one "$pid" "$peer_port" "$login" "$@")"
    done
    echo
}
row "file of 1 KiB, EPSV and RETR" -l small --path /f1024
row "file of 1 KiB in block mode, RETR" -l small --block --path /f1024
row "file of 64 KiB, EPSV and RETR" -l small --path /f65536
row "file of 32 MiB, EPSV and RETR" -l download --path /f33554432
row "connect, log in, leave" -l login
row "MLSD of 1,000 entries" -l mlsd --directory /d1000
