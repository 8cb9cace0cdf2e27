#!/usr/bin/env bash
# Do downloads and uploads come whole, although clients and servers are killed in the middle, over and over?
# A good answer: every file byte-exact in the end, and none ever seen torn under its final name.
# Usage: stress/cut-cables.sh [KILLS=200] [MEGABYTES=16]
. "$(dirname "$0")/lib.sh"
kills=${1:-200} megabytes=${2:-16}
make_file file.bin "$megabytes"
start_server --max-per-ip 10000 --workers 4 --write
expected=$(sha256sum <"$work/root/file.bin")
mkdir "$work/here"
cp "$work/root/file.bin" "$work/here/up.bin"
torn=0 wrong=0 files=0 killed=0

# whole FILE: whether it is absent or byte-exact.
whole() { [ ! -e "$1" ] || [ "$(sha256sum <"$1")" = "$expected" ]; }

# One file, with a kill of the client (or, now and then, of the server) at a random moment of each run but the last.
transfer() {
    local script=$1 final=$2 begun
    rm -f "$final"
    while :; do
        (cd "$work/here" && exec "$programs/ftpclient" -q --retries 8 -c "$script" 127.0.0.1 "$port") 2>/dev/null &
        client=$!
        sleep "0.0$((RANDOM % 90 + 10))"
        kill -0 "$client" 2>/dev/null || { wait "$client" 2>/dev/null && break; continue; }
        if [ $((RANDOM % 4)) = 0 ]; then
            # The server dies; its client goes on by itself when there is another.
            kill -9 "$server"
            killed=$((killed + 1))
            wait "$server" 2>/dev/null || true
            whole "$final" || torn=$((torn + 1))
            "$programs/ftpserver" --root "$work/root" --bind 127.0.0.1 --port "$port" --quiet --write --workers 4 >/dev/null &
            server=$!
            wait "$client" 2>/dev/null && break
        else
            # It may have ended by itself just now.
            kill -9 "$client" 2>/dev/null && killed=$((killed + 1))
            wait "$client" 2>/dev/null || true
            whole "$final" || torn=$((torn + 1))
        fi
    done
    whole "$final" && [ -e "$final" ] || wrong=$((wrong + 1))
    files=$((files + 1))
}

begun=$(now)
while [ "$killed" -lt "$kills" ]; do
    transfer "get file.bin" "$work/here/file.bin"
    transfer "reput up.bin" "$work/root/up.bin"
done
verdict=$([ "$torn" = 0 ] && [ "$wrong" = 0 ] && echo PASS || echo FAIL)
printf '%s cut-cables: %d kills; %d files of %d MiB came whole, %d did not; %d times one was seen torn; all in %.1f s\n' \
    "$verdict" "$killed" $((files - wrong)) "$megabytes" "$wrong" "$torn" "$(since "$begun")"
[ "$verdict" = PASS ]
