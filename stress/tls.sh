#!/usr/bin/env bash
# What does TLS cost, and what does it cost vsftpd and Pure-FTPd in the same run?
# A good answer: no more than 1.1 of the best of them, in seconds of the server's CPU for each GB; every byte counted.
# Usage: stress/tls.sh [MEGABYTES=1024] [ROUNDS=5]. The others are looked for in the PATH and in target/servers.
. "$(dirname "$0")/lib.sh"
megabytes=${1:-1024} rounds=${2:-5}
make_file big "$megabytes"
echo x >"$work/root/small"
mkdir "$work/root/up" && chmod 777 "$work/root/up" && chmod 755 "$work" "$work/root"
size=$((megabytes * 1024 * 1024)) failed=0
find_server() { command -v "$1" || ls "$here/target/servers/usr/sbin/$1" 2>/dev/null || true; }
# free_port: one that nobody listens on.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
others=()
start_other() { # NAME PORT COMMAND...
    local name=$1 other_port=$2
    shift 2
    "$@" >/dev/null 2>&1 &
    others+=("$name $! $other_port")
    until (exec 3<>"/dev/tcp/127.0.0.1/$other_port") 2>/dev/null; do kill -0 $! || return 0; done
}
finish_others() { for other in "${others[@]}"; do read -r _ pid _ <<<"$other"; kill "$pid" 2>/dev/null || true; done; finish; }
trap finish_others EXIT INT TERM
start_server --max-per-ip 10000 --workers 4 --write --no-fsync --self-signed "$work/own.pem"
# family_cpu PID: with that of its children, those that have ended too.
family_cpu() {
    awk -v t="$(getconf CLK_TCK)" '{ sum += $14 + $15 + $16 + $17 } END { print sum / t }' \
        "/proc/$1/stat" $(for child in $(pgrep -P "$1" || true); do echo "/proc/$child/stat"; done) 2>/dev/null
}
vsftpd=$(find_server vsftpd) pure=$(find_server pure-ftpd)
if [ -n "$vsftpd" ] && [ "$(id -u)" = 0 ]; then
    other=$(free_port) && mkdir "$work/empty"
    printf '%s\n' listen=YES listen_address=127.0.0.1 "listen_port=$other" background=NO anonymous_enable=YES local_enable=NO \
        "anon_root=$work/root" write_enable=YES anon_upload_enable=YES anon_other_write_enable=YES "secure_chroot_dir=$work/empty" \
        ftp_username=bin nopriv_user=nobody seccomp_sandbox=NO ssl_enable=YES allow_anon_ssl=YES ssl_ciphers=HIGH \
        "rsa_cert_file=$work/own.pem" >"$work/vsftpd.conf"
    start_other vsftpd "$other" "$vsftpd" "$work/vsftpd.conf"
fi
if [ -n "$pure" ] && [ "$(id -u)" = 0 ]; then
    other=$(free_port) pw=$(find_server pure-pw)
    pw=${pw:-$(ls "$here"/target/servers/usr/bin/pure-pw)}
    printf 'secret\nsecret\n' | "$pw" useradd joe -u nobody -g nogroup -d "$work/root" -f "$work/users" -F "$work/users.pdb" -m >/dev/null 2>&1
    start_other Pure-FTPd "$other" "$pure" -A -H -4 -S "127.0.0.1,$other" -l "puredb:$work/users.pdb" -g "$work/pid" -Y 1 -2 "$work/own.pem"
fi
# round NAME PID PORT: fetches and stores the file; "server CPU seconds, seconds" go to NAME.retr and NAME.stor.
round() {
    local login=anonymous:x curl cpu begun login_cpu
    [ "$1" != Pure-FTPd ] || login=joe:secret
    curl="curl -sS -k --ssl-reqd -u $login"
    # What login and handshakes cost: taken off below.
    cpu=$(family_cpu "$2")
    $curl -o /dev/null "ftp://127.0.0.1:$3/small" || failed=1
    sleep_until_reaped "$2"
    login_cpu=$(awk -v a="$cpu" -v b="$(family_cpu "$2")" 'BEGIN { print b - a }')
    cpu=$(family_cpu "$2") begun=$(now)
    [ "$($curl -o /dev/null -w '%{size_download}' "ftp://127.0.0.1:$3/big")" = "$size" ] || failed=1
    sleep_until_reaped "$2"
    echo "$(awk -v a="$cpu" -v l="$login_cpu" -v b="$(family_cpu "$2")" 'BEGIN { print b - a - l }') $(since "$begun")" >>"$work/$1.retr"
    cpu=$(family_cpu "$2") begun=$(now)
    $curl -T "$work/root/big" "ftp://127.0.0.1:$3/up/$1" || failed=1
    sleep_until_reaped "$2"
    echo "$(awk -v a="$cpu" -v l="$login_cpu" -v b="$(family_cpu "$2")" 'BEGIN { print b - a - l }') $(since "$begun")" >>"$work/$1.stor"
    [ "$(stat -c %s "$work/root/up/$1")" = "$size" ] || failed=1
    rm -f "$work/root/up/$1"
}
# A child that has ended is counted when its parent has seen it.
sleep_until_reaped() { for _ in $(seq 100); do [ -n "$(pgrep -P "$1" || true)" ] || return 0; sleep 0.05; done; }
# Interleaved: what else the machine does hits all.
for _ in $(seq "$rounds"); do
    round poolftpd "$server" "$port"
    for other in "${others[@]}"; do read -r name pid other_port <<<"$other"; round "$name" "$pid" "$other_port"; done
done
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
verdict=$([ "$failed" = 0 ] && echo PASS || echo FAIL)
printf '%s tls: server CPU seconds a GB' "$verdict"
for name in poolftpd vsftpd Pure-FTPd; do
    [ -e "$work/$name.retr" ] || { printf '; %s not here' "$name"; continue; }
    awk -v n="$name" -v r="$(median "$work/$name.retr")" -v s="$(median "$work/$name.stor")" -v g="$(awk -v b="$size" 'BEGIN { print b / 1e9 }')" \
        'BEGIN { printf "; %s RETR %.2f STOR %.2f", n, r / g, s / g }'
done
echo
[ "$failed" = 0 ]
