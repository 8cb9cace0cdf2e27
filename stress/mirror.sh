#!/usr/bin/env bash
# How long do copies of trees and of large files take, compared with other clients?
# A good answer: ftpclient is the fastest in each row, the second run transfers nothing and takes less than lftp's time, and
# over a delay less than half of it.
# Usage: stress/mirror.sh [ROUNDS=3] [DELAY_MS=20] [FILES=2000] [ROWS=.]
#
# ROWS is a pattern of grep -E: only rows whose names match it are measured.
# All clients take turns in each round, with one server. Needs root, python3, and a kernel with network namespaces and TUN
# devices. Without lftp, rclone or curl, their columns are empty.
. "$(dirname "$0")/lib.sh"
rounds=${1:-3} delay=${2:-20} files=${3:-2000} only=${4:-.}
skip() { echo "SKIP mirror: $1"; exit 0; }
[ "$(id -u)" = 0 ] || skip "it makes network namespaces, for which it must be root"
here_ns=mirror-$$-here there_ns=mirror-$$-there
finish_mirror() {
    [ -z "$relay" ] || kill "$relay" 2>/dev/null || true
    for namespace in $here_ns $there_ns; do
        { ip netns pids $namespace | xargs -r kill; ip netns del $namespace; } 2>/dev/null || true
    done
    finish
}
relay=
trap finish_mirror EXIT INT TERM
ip netns add $here_ns 2>/dev/null && ip netns add $there_ns || skip "this kernel has no network namespaces"
here() { ip netns exec $here_ns "$@"; }
there() { ip netns exec $there_ns "$@"; }
here ip link set lo up && there ip link set lo up
# A relay in user space holds the packets back: not every kernel has netem.
mkfifo "$work/relay"
python3 "$(dirname "$0")/delay.py" "$((delay / 2))" $here_ns/mir0/10.78.0.1/24 $there_ns/mir1/10.78.0.2/24 >"$work/relay" &
relay=$!
read -r line <"$work/relay" || skip "this kernel has no TUN devices"

chmod 755 "$work"
mkdir -p "$work/root/tree" "$work/root/flat"
# 50 directories of 40 files, and one directory of as many files.
for folder in $(seq 50); do
    mkdir "$work/root/tree/$folder"
    head -c $((files / 50 * 2048)) /dev/urandom | (cd "$work/root/tree/$folder" && split -a 2 -d -b 2048 - f)
done
head -c $((files * 2048)) /dev/urandom | (cd "$work/root/flat" && split -a 4 -d -b 2048 - f)
mkdir "$work/root/large"
for number in 1 2 3 4; do head -c 67108864 /dev/urandom >"$work/root/large/$number"; done
find "$work/root" -exec touch -d '2026-01-02 03:04:05' {} +
mkfifo "$work/line"
here "$programs/ftpserver" --root "$work/root" --port 0 --quiet --max-per-ip 1000 >"$work/line" &
read -r line <"$work/line"
port=${line##*:}

clients() { for name in ftpclient lftp rclone curl; do { [ $name = ftpclient ] || command -v $name >/dev/null; } && echo $name; done; }
# copy CLIENT ADDRESS PATH PARALLEL: into $work/copy/CLIENT-PATH.
copy() {
    local to=$work/copy/$1-${3//\//-}-$4
    mkdir -p "$to"
    case $1 in
    ftpclient) "$programs/ftpclient" -q --tls off -c "mirror --parallel $4 $3 $to" "$2" "$port" ;;
    lftp) lftp -c "set ftp:ssl-allow no; open ftp://$2:$port; mirror --parallel=$4 $3 $to" ;;
    rclone) rclone copy --config /dev/null --transfers "$4" --checkers "$4" --ftp-concurrency 0 --ftp-host "$2" --ftp-port "$port" --ftp-user anonymous \
        --ftp-pass "$(rclone obscure x)" ":ftp:$3" "$to" ;;
    curl) (cd "$to" && find "$work/root/$3" -type f -printf "url=ftp://$2:$port/$3/%P\noutput=%P\n" | curl -s -Z --parallel-max "$4" --create-dirs -R -K -) ;;
    esac >/dev/null 2>&1 || echo "failed: $*" >&2
    diff -r "$work/root/$3" "$to" >/dev/null || echo "wrong copy: $*" >&2
}
# fetch CLIENT ADDRESS PATH PARALLEL: one file in ranges.
fetch() {
    mkdir -p "$work/copy" && rm -rf "$work/copy/one" && mkdir "$work/copy/one"
    case $1 in
    ftpclient) (cd "$work/copy/one" && "$programs/ftpclient" -q --tls off -c "pget -n $4 $3 one" "$2" "$port") ;;
    lftp) (cd "$work/copy/one" && lftp -c "set ftp:ssl-allow no; open ftp://$2:$port; pget -n $4 $3 -o one") ;;
    rclone) rclone copyto --config /dev/null --ftp-host "$2" --ftp-port "$port" --ftp-user anonymous --ftp-pass "$(rclone obscure x)" ":ftp:$3" "$work/copy/one/one" ;;
    curl) curl -s -o "$work/copy/one/one" "ftp://$2:$port/$3" ;;
    esac >/dev/null 2>&1 || echo "failed: $*" >&2
    cmp -s "$work/root/$3" "$work/copy/one/one" || echo "wrong file: $*" >&2
}
behind=()
# row NAME RUN ADDRESS KIND PATH PARALLEL: KIND is first, second or fetch.
row() {
    local client round begun times copied
    grep -qE -- "$only" <<<"$1" || return 0
    for round in $(seq "$rounds"); do
        for client in $(clients); do
            copied=$work/copy/$client-${5//\//-}-$6
            [ "$4" = first ] && rm -rf "$copied"
            # Where the first run is left out, this is what it would have made.
            [ "$4" != second ] || [ -d "$copied" ] || { mkdir -p "$work/copy" && cp -a "$work/root/$5" "$copied"; }
            [ "$4$client" != secondcurl ] || continue # curl has no second run: it transfers everything again.
            begun=$(now)
            if [ "$4" = fetch ]; then run=fetch; else run=copy; fi
            export -f copy fetch; export work programs port
            "$2" bash -c "$run $client $3 $5 $6"
            since "$begun" >>"$work/times.$client"
        done
    done
    printf '| %s |' "$1"
    local ours=
    for client in ftpclient lftp rclone curl; do
        times=
        [ ! -f "$work/times.$client" ] || times=$(sort -n "$work/times.$client" | awk '{ v[NR] = $1 } END { printf "%.2f", v[int((NR + 1) / 2)] }')
        rm -f "$work/times.$client"
        printf ' %s |' "$times"
        if [ $client = ftpclient ]; then ours=$times; continue; fi
        [ -z "$times" ] || [ "$(awk -v a="$ours" -v b="$times" 'BEGIN { print a < b }')" = 1 ] || behind+=("$1: $client")
        if [ "$client$7" = lftphalf ] && [ "$(awk -v a="$ours" -v b="$times" 'BEGIN { print a < b / 2 }')" != 1 ]; then
            behind+=("$1: half of lftp")
        fi
    done
    echo
}
rows() {
    row "$1: $files files in 50 directories, first run" "$2" "$3" first tree 1 ''
    row "$1: the same, second run" "$2" "$3" second tree 1 "$4"
    row "$1: $files files in one directory, first run" "$2" "$3" first flat 1 ''
    row "$1: the same, second run" "$2" "$3" second flat 1 "$4"
    row "$1: $files files in 50 directories, 4 connections" "$2" "$3" first tree 4 ''
    row "$1: 4 files of 64 MiB, 4 connections" "$2" "$3" first large 4 ''
    row "$1: 1 file of 64 MiB, 4 connections" "$2" "$3" fetch large/1 4 ''
}
echo "| seconds, median of $rounds | ftpclient | lftp | rclone | curl |"
echo "| --- | --- | --- | --- | --- |"
rows loopback here 127.0.0.1 ''
rows "$delay ms" there 10.78.0.1 half
if [ ${#behind[@]} = 0 ]; then echo "PASS mirror: ahead in each row"; else
    echo "FAIL mirror: behind in ${#behind[@]}: $(printf '%s; ' "${behind[@]}")"
    exit 1
fi
