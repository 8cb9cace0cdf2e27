# Other servers, for the scripts that compare: each started on a port of its own, serving $work/root; who logs in may write
# into $work/root/up. Those of the PATH are used, else those unpacked in target/servers, as .ci/run does.
# shellcheck shell=bash

# peers: "name pid port login" of each that runs; writers: who stores, where that is another.
peers=()
declare -A writers=()
find_server() { command -v "$1" || ls "$here/target/servers/usr/sbin/$1" "$here/target/servers/usr/bin/$1" 2>/dev/null || true; }
# free_port: one that nobody listens on.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# start_peer NAME LOGIN PORT COMMAND...: waits until it accepts.
start_peer() {
    local name=$1 login=$2 peer_port=$3
    shift 3
    "$@" >"$work/$name.log" 2>&1 &
    local pid=$!
    until (exec 3<>"/dev/tcp/127.0.0.1/$peer_port") 2>/dev/null; do
        kill -0 $pid 2>/dev/null || { echo "$name did not start: $(tail -n 1 "$work/$name.log")" >&2; return 0; }
    done
    peers+=("$name $pid $peer_port $login")
}
missing() { echo "not here: $1 ($2)" >&2; }
finish_peers() {
    for peer in "${peers[@]}"; do read -r _ pid _ <<<"$peer"; kill "$pid" 2>/dev/null || true; done
    finish
}

# start_vsftpd [LINES...]: with these lines in its configuration.
start_vsftpd() {
    local program peer_port
    program=$(find_server vsftpd | head -n 1)
    [ -n "$program" ] && [ "$(id -u)" = 0 ] || { missing vsftpd "apt-get install vsftpd; it must be started as root"; return 0; }
    peer_port=$(free_port) && mkdir -p "$work/empty"
    printf '%s\n' listen=YES listen_address=127.0.0.1 "listen_port=$peer_port" background=NO anonymous_enable=YES \
        local_enable=NO "anon_root=$work/root" write_enable=YES anon_upload_enable=YES anon_other_write_enable=YES \
        anon_umask=022 "secure_chroot_dir=$work/empty" ftp_username=bin nopriv_user=nobody seccomp_sandbox=NO \
        max_clients=0 "$@" >"$work/vsftpd.conf"
    start_peer vsftpd anonymous:x@ "$peer_port" "$program" "$work/vsftpd.conf"
}

start_proftpd() {
    local program peer_port
    program=$(find_server proftpd | head -n 1)
    [ -n "$program" ] && [ "$(id -u)" = 0 ] || { missing ProFTPD "apt-get install proftpd-core; it must be started as root"; return 0; }
    peer_port=$(free_port)
    printf '%s\n' "ServerName test" "ServerType standalone" "Port $peer_port" "DefaultAddress 127.0.0.1" "UseIPv6 off" \
        "User nobody" "Group nogroup" "PidFile $work/proftpd.pid" "ScoreboardFile $work/scoreboard" \
        "DelayTable $work/delay" "DelayEngine off" "WtmpLog off" "TransferLog none" "SystemLog none" "UseReverseDNS off" \
        "MaxInstances none" "RequireValidShell off" "<Anonymous $work/root>" "User nobody" "Group nogroup" \
        "UserAlias anonymous nobody" "RequireValidShell off" "AnonRequirePassword off" "AllowOverwrite on" \
        "</Anonymous>" >"$work/proftpd.conf"
    start_peer ProFTPD anonymous:x@ "$peer_port" "$program" -n -c "$work/proftpd.conf"
}

# start_pure_ftpd [OPTIONS...]: its anonymous is served the home of a user of the system called ftp, which it is made to
# see, and may not overwrite; so who stores is a user of its own file, whose password takes it a second of argon2 at each login.
start_pure_ftpd() {
    local program pw peer_port login=anonymous:x@ wrapper
    program=$(find_server pure-ftpd | head -n 1) pw=$(find_server pure-pw | head -n 1)
    [ -n "$program" ] && [ "$(id -u)" = 0 ] || { missing Pure-FTPd "apt-get install pure-ftpd; it must be started as root"; return 0; }
    wrapper=$(ls /usr/lib/*/libnss_wrapper.so 2>/dev/null | head -n 1)
    [ -n "$wrapper" ] || { login=joe:secret; missing "Pure-FTPd's anonymous" "apt-get install libnss-wrapper; without it, each login takes a second"; }
    { cat /etc/passwd; echo "ftp:x:65534:65534::$work/root:/bin/false"; } >"$work/passwd"
    peer_port=$(free_port)
    printf 'secret\nsecret\n' | "$pw" useradd joe -u nobody -g nogroup -d "$work/root" -f "$work/users" -F "$work/users.pdb" -m >/dev/null 2>&1
    start_peer Pure-FTPd $login "$peer_port" env LD_PRELOAD="$wrapper" NSS_WRAPPER_PASSWD="$work/passwd" NSS_WRAPPER_GROUP=/etc/group \
        "$program" -A -H -4 -c 20000 -C 20000 -L 200000:5 -S "127.0.0.1,$peer_port" -l "puredb:$work/users.pdb" -g "$work/pure.pid" "$@"
    writers[Pure-FTPd]=joe:secret
}

start_pyftpdlib() {
    local peer_port
    PYTHONPATH=$here/target/servers/python python3 -c 'import pyftpdlib' 2>/dev/null ||
        { missing pyftpdlib "pip install --target target/servers/python pyftpdlib"; return 0; }
    peer_port=$(free_port)
    # Its own command line has no way to lift the limits of clients.
    PYTHONPATH=$here/target/servers/python start_peer pyftpdlib anonymous:x@ "$peer_port" python3 -c "
import logging; from pyftpdlib.authorizers import DummyAuthorizer; from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer; logging.basicConfig(level=logging.ERROR)
a = DummyAuthorizer(); a.add_anonymous('$work/root', perm='elradfmwMT'); FTPHandler.authorizer = a
s = FTPServer(('127.0.0.1', $peer_port), FTPHandler, backlog=4096); s.max_cons = 0; s.serve_forever()"
}

start_unftp() {
    local program peer_port
    program=$(command -v unftp || ls "$HOME/.cargo/bin/unftp" "$here/target/servers/bin/unftp" 2>/dev/null | head -n 1)
    [ -n "$program" ] || { missing unftp "cargo install unftp --root target/servers"; return 0; }
    peer_port=$(free_port)
    start_peer unftp anonymous:x@ "$peer_port" "$program" --bind-address "127.0.0.1:$peer_port" --root-dir "$work/root" \
        --bind-address-http "127.0.0.1:$(free_port)" --log-level error
}
