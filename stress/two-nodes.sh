#!/usr/bin/env bash
# Does an upload survive its node? Two nodes behind HAProxy share a CephFS root, as in docs/clusters.md, each machine in a
# network namespace. In mid-upload the server of one node is killed, then its mount, then the whole machine; at last, the
# engine stops for a while. A good answer: each time the client resumes at the other node, and the SHA-256 is right.
# Usage: stress/two-nodes.sh. Needs root, /dev/fuse, and some Debian packages, and takes some minutes.
set -eu
packages="ceph-mon:ceph-mon ceph-osd:ceph-osd ceph-mds:ceph-mds ceph-fuse:ceph-fuse ceph:ceph-common haproxy:haproxy
    ip:iproute2 nft:nftables python3:python3 uuidgen:uuid-runtime unshare:util-linux"
if [ "${1-}" != inside ]; then
    for pair in $packages; do
        command -v "${pair%:*}" >/dev/null || { echo "SKIPPED two-nodes: ${pair%:*} is not here (apt-get install ${pair#*:})"; exit 0; }
    done
    [ "$(id -u)" = 0 ] && [ -c /dev/fuse ] || { echo "SKIPPED two-nodes: needs root and /dev/fuse"; exit 0; }
    . "$(dirname "$0")/lib.sh"
    # unshare ignores the signals that lib.sh would end it with.
    trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null || true; finish' EXIT INT TERM
    # All processes, mounts and interfaces are in namespaces that end with this one process, however it ends.
    unshare --net --mount --pid --fork --kill-child --mount-proc bash "$0" inside "$work" "$programs" &
    server=$!
    wait "$server" && exit 0 || exit $?
fi

here=$(cd "$(dirname "$0")/.." && pwd)
export here work=$2 programs=$3 engine=$2/engine
export CEPH_CONF=$engine/ceph.conf keys=$engine/keyring

# This namespace is the client's machine, 10.9.0.9. Others: lb, the nodes n1 and n2, and eng with Ceph.
make_network() {
    mount -t tmpfs none /run
    mkdir -p /run/netns
    for name in lb n1 n2 eng; do ip netns add "$name"; ip -n "$name" link set lo up; done
    ip link set lo up
    ip link add to-lb type veth peer name clients netns lb
    ip addr add 10.9.0.9/24 dev to-lb
    ip link set to-lb up
    for name in lb eng; do ip -n "$name" link add nodes type bridge; ip -n "$name" link set nodes up; done
    ip -n lb addr add 10.9.0.1/24 dev clients
    ip -n lb addr add 10.9.1.1/24 dev nodes
    ip -n lb link set clients up
    ip -n eng addr add 10.9.2.1/24 dev nodes
    for n in 1 2; do
        ip -n "n$n" link add front type veth peer name "node$n" netns lb
        ip -n "n$n" link add back type veth peer name "node$n" netns eng
        ip -n "n$n" addr add "10.9.1.$((n + 1))/24" dev front
        ip -n "n$n" addr add "10.9.2.$((n + 1))/24" dev back
        for name in lb eng; do ip -n "$name" link set "node$n" master nodes; ip -n "$name" link set "node$n" up; done
        plug_in "$n"
    done
}

plug_in() {
    ip -n "n$1" link set front up
    ip -n "n$1" link set back up
    ip -n "n$1" route replace default via 10.9.1.1
}

at() { local place=$1; shift; nsenter --net="/run/netns/$place" "$@"; }

ceph_at() { at eng timeout 60 ceph --connect-timeout 30 "$@"; }

start_engine() {
    mkdir -p "$engine"/{mon,osd,mds,log,run}
    local id osd
    id=$(uuidgen) osd=$(uuidgen)
    cat >"$CEPH_CONF" <<CONF
[global]
fsid = $id
mon host = [v2:10.9.2.1:3300/0,v1:10.9.2.1:6789/0]
public network = 10.9.2.0/24
cluster addr = 10.9.2.1
auth allow insecure global id reclaim = false
keyring = $keys
osd pool default size = 1
osd pool default min size = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
run dir = $engine/run
log file = $engine/log/\$name.log
pid file = $engine/run/\$name.pid
admin socket = $engine/run/\$name.\$pid.asok
[mon]
mon data = $engine/mon
[osd]
osd data = $engine/osd
bluestore block size = 4294967296
osd memory target = 1073741824
[client]
pid file =
CONF
    ceph-authtool "$keys" --create-keyring --gen-key -n mon. --cap mon 'allow *'
    ceph-authtool "$keys" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' --cap mds 'allow *'
    ceph-authtool "$keys" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
    ceph-authtool "$keys" --gen-key -n mds.a --cap mon 'allow profile mds' --cap osd 'allow rwx' --cap mds 'allow'
    monmaptool --create --fsid "$id" --addv a '[v2:10.9.2.1:3300,v1:10.9.2.1:6789]' "$engine/monmap"
    at eng ceph-mon -i a --mkfs --monmap "$engine/monmap" --keyring "$keys"
    at eng ceph-mon -i a --public-addr 10.9.2.1
    ceph_at osd new "$osd"
    ceph_at auth import -i "$keys"
    at eng ceph-osd -i 0 --mkfs --osd-uuid "$osd"
    ceph_at osd crush add osd.0 1.0 host=eng root=default
    at eng ceph-osd -i 0
    ceph_at osd pool create metadata 8
    ceph_at osd pool create data 8
    ceph_at fs new fs metadata data
    # How long a dead machine keeps its files from the others: the least that Ceph allows.
    ceph_at fs set fs session_timeout 30
    at eng ceph-mds -i a --mds-data="$engine/mds"
    for _ in $(seq 60); do
        ceph_at mds stat | grep -q up:active && return
        sleep 1
    done
    return 1
}

mount_root() {
    mkdir -p "$work/n$1/root"
    at "n$1" ceph-fuse -n client.admin "$work/n$1/root" >>"$work/n$1/mount.log" 2>&1 </dev/null
    pgrep -f "ceph-fuse .*$work/n$1/root" >"$work/n$1/mount.pid"
}

# Starts the server of node N, which has 20 passive ports of its own.
start_server() {
    local first=$((30000 + 20 * ($1 - 1)))
    nsenter --net="/run/netns/n$1" "$programs/ftpserver" --root "$work/n$1/root" --write --bind "10.9.1.$(($1 + 1))" --port 2121 \
        --passive-ports "$first-$((first + 19))" --public-address 10.9.0.1 --max-per-ip 100 \
        >>"$work/n$1/out" 2>>"$work/n$1/log" </dev/null &
    echo $! >"$work/n$1/server.pid"
    disown
}

start_balancer() {
    at lb sysctl -q net.ipv4.ip_forward=1
    at lb nft -f - <<NFT
table ip ftp {
    chain back { type filter hook prerouting priority mangle; meta l4proto tcp socket transparent 1 meta mark set 1 accept; }
    chain active { type nat hook postrouting priority srcnat; ip saddr 10.9.1.0/24 oifname "clients" masquerade; }
}
NFT
    at lb ip rule add fwmark 1 lookup 100
    at lb ip route add local default dev lo table 100
    cat >"$work/haproxy.cfg" <<CFG
$(sed -n '/^```haproxy$/,/^```$/p' "$here/docs/clusters.md" | grep -v '^```')
CFG
    nsenter --net=/run/netns/lb haproxy -f "$work/haproxy.cfg" >"$work/haproxy.log" 2>&1 </dev/null &
}
break_server() { kill -9 "$(cat "$work/n$1/server.pid")"; }
break_mount() { kill -9 "$(cat "$work/n$1/mount.pid")"; }
break_machine() {
    ip -n "n$1" link set front down
    ip -n "n$1" link set back down
    break_server "$1"
    break_mount "$1"
}
# An engine that hangs for ten seconds.
break_engine() { pkill -STOP ceph-osd; sleep 10; pkill -CONT ceph-osd; }

# What an administrator does about each: the node is as new.
repair() {
    plug_in "$1"
    kill -9 "$(cat "$work/n$1/server.pid")" "$(cat "$work/n$1/mount.pid")" 2>/dev/null || true
    umount -l "$work/n$1/root" 2>/dev/null || true
    mount_root "$1"
    start_server "$1"
}
export -f at plug_in mount_root start_server break_server break_mount break_machine break_engine repair

make_network
start_engine >"$work/engine.log" 2>&1 &
wait $! || { echo "FAIL two-nodes: Ceph does not start"; tail -5 "$work/engine.log"; exit 1; }
mount_root 1
mount_root 2
chmod 777 "$work/n1/root"
start_server 1
start_server 2
start_balancer
python3 - <<'PYTHON'
import hashlib, os, re, select, socket, subprocess, sys, time
SIZE, BREAK_AT = 160 << 20, 100 << 20
content = os.urandom(SIZE)
digest = hashlib.sha256(content).hexdigest()

class Client:
    """A client behind the balancer. `node` is the one that its passive ports belong to."""
    def __init__(self):
        self.socket = socket.create_connection(("10.9.0.1", 21), 90)
        self.lines = self.socket.makefile("rb")
        self.expect("220", self.reply())
        self.ask("USER anonymous", "3")
        self.ask("PASS me@", "230")
        self.ask("TYPE I", "200")
        self.node = None
    def reply(self):
        while True:
            line = self.lines.readline().decode()
            if not line: raise OSError("connection closed")
            if line[3:4] == " ": return line.strip()
    def expect(self, code, line):
        if not line.startswith(code): raise OSError(line)
        return line
    def ask(self, line, code=""):
        self.socket.sendall(line.encode() + b"\r\n")
        return self.expect(code, self.reply())
    def data(self):
        port = int(re.search(r"\|\|\|(\d+)\|", self.ask("EPSV", "229"))[1])
        self.node = 1 + (port - 30000) // 20
        return socket.create_connection(("10.9.0.1", port), 90)
    def send(self, data, content):
        """Sends until all is sent or the server replies: then, or when the connection is closed, it is broken."""
        rest = memoryview(content)
        data.setblocking(False)
        while rest:
            replied, writable, _ = select.select([self.socket], [data], [], 90)
            if replied: raise OSError(self.reply())
            if not writable: raise OSError("timed out")
            rest = rest[data.send(rest[:1 << 20]):]
        data.close()
    def close(self): self.socket.close()

def retry(what, seconds=180):
    """Returns the result of `what`, tried again until it succeeds."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try: return what()
        except OSError as error:
            last = error
            time.sleep(0.2)
    raise SystemExit(f"FAIL two-nodes: {what.__name__}: {last}")

def both_nodes():
    """Returns when the balancer uses both nodes."""
    seen = set()
    def look():
        client = Client()
        client.data().close()
        seen.add(client.node)
        client.close()
        if len(seen) < 2: raise OSError("one node only")
    retry(look, 60)

def run(command, wait=True):
    process = subprocess.Popen(["bash", "-c", command])
    if wait: process.wait()
    return process

def receive(client, name):
    data, found = client.data(), hashlib.sha256()
    client.ask("RETR " + name, "150")
    while chunk := data.recv(1 << 20): found.update(chunk)
    client.expect("226", client.reply())
    return found.hexdigest()

def scenario(what):
    """Breaks something in mid-upload. Returns a sentence, and whether it is a good one."""
    name, client, began = what + ".bin", Client(), None
    data, reply = client.data(), None
    client.ask("STOR " + name, "150")
    data.sendall(content[:BREAK_AT])
    broken = time.monotonic()
    run(f"break_{what} {client.node}")
    try:
        client.send(data, content[BREAK_AT:])
        reply = client.reply()
    except OSError as error: reply = str(error) or type(error).__name__
    client.close()
    kept = []
    def resume():
        again = Client()
        size = again.ask("SIZE " + name)
        # No such file: nothing was kept. Anything else: not yet.
        if not size.startswith(("213", "550")): raise OSError(size)
        offset = int(size.split()[1]) if size.startswith("213") else 0
        data = again.data()
        again.ask(f"REST {offset}", "350")
        again.ask("STOR " + name, "150")
        again.send(data, content[offset:])
        again.expect("226", again.reply())
        kept.append((offset, again.node))
        return again
    again = retry(resume)
    offset, node = kept[-1]
    took = time.monotonic() - broken
    right = receive(again, name) == digest
    again.close()
    good = right and node != client.node
    print(f"{what} of node {client.node} killed: reply {reply!r}; resumed at node {node} from {offset >> 20} of {BREAK_AT >> 20} MiB"
          f" after {took:.0f} s; SHA-256 {'right' if right else 'WRONG'}", flush=True)
    run(f"repair {client.node}")
    return good

def active():
    """Receives a listing in active mode."""
    client = Client()
    with socket.create_server(("10.9.0.9", 0)) as listener:
        listener.settimeout(10)
        client.ask(f"EPRT |1|10.9.0.9|{listener.getsockname()[1]}|", "200")
        client.ask("NLST", "150")
        data = listener.accept()[0]
        while data.recv(1 << 16): pass
        client.expect("226", client.reply())
    client.close()

def engine_hangs():
    """The engine hangs in mid-upload: others are answered, and the upload completes."""
    client, other = Client(), Client()
    data = client.data()
    client.ask("STOR engine.bin", "150")
    data.sendall(content[:BREAK_AT])
    hang, slowest = run("break_engine", wait=False), 0
    while hang.poll() is None:
        asked = time.monotonic()
        other.ask("NOOP", "200")
        slowest = max(slowest, time.monotonic() - asked)
        time.sleep(0.05)
    client.send(data, content[BREAK_AT:])
    reply = client.reply()
    right = reply.startswith("226") and receive(client, "engine.bin") == digest
    print(f"engine hung for 10 s: reply {reply!r}; slowest NOOP of another client {slowest:.3f} s; SHA-256 {'right' if right else 'WRONG'}", flush=True)
    return right

both_nodes()
retry(active, 20)
good = []
for what in "server", "mount", "machine":
    good.append(scenario(what))
    both_nodes()
good.append(engine_hangs())
log = "".join(open(f"{os.environ['work']}/n{n}/log").read() for n in (1, 2))
address = "10.9.0.9" in log
print("PASS" if all(good) and address else "FAIL", f"two-nodes: {sum(good[:3])} of 3 uploads resumed at the other node with the right SHA-256",
      f"(server, mount and machine killed); {'right' if good[3] else 'WRONG'} after the engine hung; client's address {'kept' if address else 'LOST'}, active mode works")
sys.exit(not (all(good) and address))
PYTHON
