#!/usr/bin/env bash
# Ten thousand clients connect, as many at one moment as the kernel keeps for a server (net.core.somaxconn), log in and stay:
# is any lost, what does each cost, and do those that work notice them?
# A good answer: none lost; a KiB of memory each, no CPU while they are idle, and commands answered beside 64 downloads as
# fast as without the crowd.
# Usage: stress/idle-crowd.sh [CLIENTS=10000] [DOWNLOADS=64]
. "$(dirname "$0")/lib.sh"
clients=${1:-10000} downloads=${2:-64}
command -v python3 >/dev/null || { echo "SKIP idle-crowd: python3 is not installed"; exit 0; }
make_file file.bin 64
start_server --workers 4 --max-clients 200000 --max-per-ip 200000 --idle-timeout 3600
most=$(($(ulimit -Hn) - 200))
[ "$clients" -le $most ] || { echo "only $most clients: ulimit -Hn is $(ulimit -Hn) (stress/uml.sh has no limit)"; clients=$most; }
python3 - "$port" "$clients" "$server" "$downloads" "$programs/ftpbench" <<'END'
import collections, json, os, resource, selectors, socket, subprocess, sys, time

port, count, server, downloads, ftpbench = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
# What is said after each reply, and what the last one begins with.
WORDS = [b"USER anonymous\r\n", b"PASS x\r\n"]
IP_BIND_ADDRESS_NO_PORT = 24

def memory():
    with open(f"/proc/{server}/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))

def cpu():
    with open(f"/proc/{server}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

lost = collections.Counter()

def converse(clients, words, last):
    """Says the words one by one, each after a reply, to all at once; who has got the last reply. Counts why others have not."""
    ready, done = selectors.DefaultSelector(), []
    for client in clients:
        ready.register(client, selectors.EVENT_READ, list(words))
    deadline = time.monotonic() + 300
    while ready.get_map() and time.monotonic() < deadline:
        for key, _ in ready.select(1):
            try:
                heard = key.fileobj.recv(500)
                if heard and key.data:
                    key.fileobj.sendall(key.data.pop(0))
                    continue
            except OSError as error:
                heard = error.strerror.encode()
            ready.unregister(key.fileobj)
            if heard.startswith(last):
                done.append(key.fileobj)
            else:
                lost[heard.decode().strip() or "closed"] += 1
    lost["no answer"] += len(ready.get_map())
    return done

def connect(number):
    client = socket.socket()
    client.setblocking(False)
    # One address has ports for fewer than 60,000.
    client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    client.bind((f"127.0.1.{1 + number // 20000}", 0))
    client.connect_ex(("127.0.0.1", port))
    return client

def commands_beside_downloads():
    words = [ftpbench, "--json", "-l", "mix", "-n", downloads, "-t", "3", "--path", "/file.bin", "127.0.0.1", str(port)]
    rows = [json.loads(line) for line in subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout.splitlines()]
    return {row["what"]: row for row in rows}["commands"]["p99"] * 1e3, sum(row["failed"] for row in rows)

alone, lost_alone = commands_beside_downloads()
empty, crowd, there, begun = memory(), [], [], time.monotonic()
with open("/proc/sys/net/core/somaxconn") as most:
    wave = int(most.read())
for start in range(0, count, wave):
    clients = [connect(number) for number in range(start, min(start + wave, count))]
    there += converse(clients, WORDS, b"230 ")
    crowd += clients
took = time.monotonic() - begun
each = (memory() - empty) / count
before = cpu()
time.sleep(2)  # The measure itself: what two seconds of idling cost.
idle = cpu() - before
among, lost_among = commands_beside_downloads()
crowd = there
for client in crowd:
    client.sendall(b"NOOP\r\n")
served = len(converse(crowd, [], b"200 "))
for client in crowd:
    client.sendall(b"QUIT\r\n")
left = len(converse(crowd, [], b"221 "))
verdict = "PASS" if served == left == count and lost_alone + lost_among == 0 else "FAIL"
print(f"{verdict} idle-crowd: {len(there)} of {count} logged in, {wave} at once, in {took:.2f} s; "
      f"{each:.2f} KiB each; CPU of 2 s idling {idle:.2f} s; "
      f"NOOP beside {downloads} downloads and 50 slow readers: p99 {alone:.2f} ms alone, {among:.2f} ms among them; "
      f"{served} still served; {left} told goodbye"
      + "".join(f"; {why}: {times}" for why, times in lost.items() if times))
sys.exit(verdict != "PASS")
END
