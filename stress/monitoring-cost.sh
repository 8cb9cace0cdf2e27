#!/usr/bin/env bash
# What do metrics, a JSON log and an open status page cost the transfer path?
# A good answer: each ratio within 3 % of 1. Two servers of one build take turns: one with all of it, one without. Prints a table of
# the medians of the ratios in each round with their quartiles, and one verdict line for the processor time of transfers.
# Usage: stress/monitoring-cost.sh [ROUNDS=15] [SECONDS=0.6] [CASES=all, or a pattern such as 'RETR|STOR']
. "$(dirname "$0")/lib.sh"
rounds=${1:-15} seconds=${2:-0.6} pattern=${3:-.}
command -v python3 >/dev/null || { echo "SKIP monitoring-cost: python3 is not installed"; exit 0; }
command -v curl >/dev/null || { echo "SKIP monitoring-cost: curl is not installed"; exit 0; }
others=()
end_all() {
    [ ${#others[@]} = 0 ] || kill "${others[@]}" 2>/dev/null || true
    finish
}
trap end_all EXIT INT TERM
mkdir -p "$work/root/up"
for size in 1024 65536 268435456; do head -c $size /dev/urandom >"$work/root/f$size"; done

common=(--workers 4 --write --no-fsync --max-clients 10000 --max-per-ip 10000)
start_server "${common[@]}"
off="$server $port"
rm "$work/ready"
monitored=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
first=$server
# The last --quiet of start_server would silence the log: its level is set behind it.
printf 'log-level = "normal"\nlog-file = "%s/log.json"\nlog-format = "json"\n' "$work" >"$work/on.toml"
mkfifo "$work/ready"
"$programs/ftpserver" --config "$work/on.toml" --root "$work/root" --bind 127.0.0.1 --port 0 "${common[@]}" --status "$monitored" \
    --status-paths >"$work/ready" &
others+=("$!")
on="$! "
read -r line <"$work/ready"
on+=${line##*:}
server=$first
# The page with its live data, and Prometheus, once a second.
curl -sN "http://127.0.0.1:$monitored/events" >/dev/null &
others+=("$!")
while sleep 1; do curl -s "http://127.0.0.1:$monitored/metrics" >/dev/null || exit; done &
others+=("$!")

cases=()
case_of() { [[ ! $1 =~ $pattern ]] || cases+=("$*"); }
for n in 1 4; do case_of "RETR-$n" -l download -n $n --path /f268435456; done
for n in 1 4; do case_of "STOR-$n" -l upload -n $n --directory /up; done
for size in 1024 65536; do case_of "files-$size-16" -l small -n 16 --path /f$size; done
case_of "login-16" -l login -n 16

for round in $(seq "$rounds"); do
    for entry in "${cases[@]}"; do
        read -r name options <<<"$entry"
        # Who is first changes from round to round.
        order=(off on)
        [ $((round % 2)) = 0 ] || order=(on off)
        for which in "${order[@]}"; do
            read -r pid port <<<"${!which}"
            echo "round $round: $name, $which" >&2
            # shellcheck disable=SC2086
            timeout 40 "$programs/ftpbench" --json -t "$seconds" -u anonymous:x@ --pid "$pid" $options 127.0.0.1 "$port" |
                sed "s/^{/{\"case\":\"$name\",\"round\":$round,\"which\":\"$which\",/" >>"$work/results"
        done
    done
done
python3 "$(dirname "$0")/monitoring-cost.py" "$work/results"
