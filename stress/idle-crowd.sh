#!/usr/bin/env bash
# What do 1,000 logged-in idle clients cost, and does one that works notice them?
# A good answer: a few KB of memory each, no CPU while they are idle, and no delay for the one.
# Usage: stress/idle-crowd.sh [CLIENTS=1000]
. "$(dirname "$0")/lib.sh"
clients=${1:-1000}
command -v python3 >/dev/null || { echo "SKIP idle-crowd: python3 is not installed"; exit 0; }
make_file file.bin 8
start_server --workers 4
python3 - "$port" "$clients" "$server" "$work" "$programs/ftpclient" <<'END'
import os, socket, subprocess, sys, time

port, count, server, work, ftpclient = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]

def memory():
    with open(f"/proc/{server}/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))

def cpu():
    with open(f"/proc/{server}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

def get():
    begun = time.monotonic()
    subprocess.run([ftpclient, "-q", "-c", "get file.bin; bye", "127.0.0.1", str(port)], cwd=work, check=True)
    return time.monotonic() - begun

alone, empty = get(), memory()
crowd = []
for _ in range(count):
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"USER anonymous\r\nPASS x\r\n")
    heard = b""
    while b"230 " not in heard:
        heard += client.recv(500)
    crowd.append(client)
each = (memory() - empty) / count
before = cpu()
time.sleep(2)  # The measure itself: what two seconds of idling cost.
idle = cpu() - before
among = get()
for client in crowd:
    client.sendall(b"NOOP\r\n")
served = sum(client.recv(100).startswith(b"200 ") for client in crowd)
verdict = "PASS" if served == count else "FAIL"
print(f"{verdict} idle-crowd: {served} of {count} clients still served; {each:.1f} KiB each; "
      f"CPU of 2 s idling {idle:.2f} s; 8 MiB in {alone:.2f} s alone, {among:.2f} s among them")
sys.exit(verdict != "PASS")
END
