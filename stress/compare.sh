#!/usr/bin/env bash
# How fast is it beside vsftpd, ProFTPD, Pure-FTPd, pyftpdlib and unFTP, and how far from what the machine can do?
# A good answer: ahead of the best of them in each row. Prints a Markdown table; every byte counted, every reply checked.
# Usage: stress/compare.sh [ROUNDS=5] [SECONDS=0.6] [CASES=all, or a pattern such as 'RETR|STOR']
#
# The rounds are interleaved: in each, every case is put to every server, one after the other, by ftpbench. The figures are
# medians of the rounds, the ratios those of the ratios in each round: what else the machine does hits both alike. "The limit" is
# benches/bare.rs, which does sendfile, splice and a look at each name, and nothing else.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/peers.sh"
rounds=${1:-5} seconds=${2:-0.6} pattern=${3:-.}
[ -x "$programs/examples/bare" ] || { echo "build first: cargo build --release --bins --examples" >&2; exit 2; }
command -v python3 >/dev/null || { echo "SKIP compare: python3 is not installed"; exit 0; }
trap finish_peers EXIT INT TERM
ulimit -Hn 200000 2>/dev/null || true
crowd=$(($(ulimit -Hn) > 10100 ? 10000 : 1000))
mkdir -p "$work/root/up" && chmod 755 "$work" "$work/root" && chmod 777 "$work/root/up"
for size in 1024 65536 1048576 33554432 268435456; do head -c $size /dev/urandom >"$work/root/f$size"; done
for count in 1000 10000 100000; do
    mkdir "$work/root/d$count" && (cd "$work/root/d$count" && seq -f 'file-%06g.txt' "$count" | xargs touch)
done

# The log of transfers is off as it is, or is turned off, in the others.
start_server --workers 4 --write --no-fsync --max-clients 100000 --max-per-ip 100000
peers+=("poolftpd $server $port anonymous:x@")
start_vsftpd && start_proftpd && start_pure_ftpd && start_pyftpdlib && start_unftp
mkfifo "$work/bare"
"$programs/examples/bare" "$work/root" >"$work/bare" &
bare=$!
read -r line <"$work/bare"
peers+=("the-limit $bare ${line##*:} anonymous:x@")

# case NAME UNIT SERVERS OPTIONS...: what is measured of whom.
cases=()
case_of() { [[ ! $1 =~ $pattern ]] || cases+=("$*"); }
others='poolftpd|vsftpd|ProFTPD|Pure-FTPd|pyftpdlib|unftp'
for n in 1 4; do case_of "RETR-$n" "." -l download -n $n --path /f268435456; done
for n in 1 4; do case_of "STOR-$n" "." -l upload -n $n --directory /up; done
for size in 1024 65536; do
    for n in 1 16; do
        case_of "files-$size-$n" "$others" -l small -n $n --path /f$size
        case_of "blocks-$size-$n" "poolftpd" -l small -n $n --path /f$size --block
        case_of "ahead-$size-$n" "poolftpd" -l small -n $n --path /f$size --block --ahead 16
    done
done
for n in 1 16; do case_of "login-$n" "$others" -l login -n $n; done
for size in 1048576 33554432; do case_of "burst-$size" "$others" -l burst -n 100 --path /f$size; done
case_of "interactive" "$others" -l interactive --path /f268435456
case_of "mix-4" "$others" -l mix --path /f268435456
case_of "mix-100" "poolftpd|ProFTPD|pyftpdlib|unftp" -l mix -n 100 --path /f268435456
for count in 1000 10000 100000; do
    for verb in list mlsd; do case_of "$verb-$count" "$others|the-limit" -l $verb --directory /d$count; done
done
# The last, once, and only then: a server that has held a crowd has the memory for the next, and unFTP does not recover. First
# those that do not leave thousands of processes behind, whose memory the kernel gives back while the next is measured.
case_of "idle-$crowd" "poolftpd|pyftpdlib|unftp" -l idle -n "$crowd"
case_of "idle-1000" "vsftpd|ProFTPD" -l idle -n 1000
case_of "idle-$crowd" "Pure-FTPd" -l idle -n "$crowd"

for round in $(seq "$rounds"); do
    for entry in "${cases[@]}"; do
        read -r name whom options <<<"$entry"
        [[ $name != idle* || $round = "$rounds" ]] || continue
        for peer in "${peers[@]}"; do
            read -r server_name pid peer_port login <<<"$peer"
            [[ $server_name =~ ^($whom)$ || $whom = . ]] || continue
            [[ $name != STOR* ]] || login=${writers[$server_name]:-$login}
            echo "round $round: $name, $server_name" >&2
            # Of the largest listings too few end in that time to be counted.
            spell=$seconds
            [[ $name != *-100000 ]] || spell=$(awk "BEGIN { print 5 * $seconds }")
            # shellcheck disable=SC2086
            timeout 40 "$programs/ftpbench" --json -t "$spell" -u "$login" --pid "$pid" $options 127.0.0.1 "$peer_port" \
                2>>"$work/failures" | sed "s/^{/{\"case\":\"$name\",\"round\":$round,\"server\":\"$server_name\",/" >>"$work/results" ||
                echo "$name, $server_name: $(tail -n 1 "$work/failures")" >&2
            # The processes of clients that have left: one of Pure-FTPd's may go on for ever, and be measured with the next.
            pkill -KILL -P "$pid" 2>/dev/null || true
        done
    done
done
[ -z "${COMPARE_RESULTS:-}" ] || cp "$work/results" "$COMPARE_RESULTS"
python3 "$(dirname "$0")/compare.py" "$work/results"
