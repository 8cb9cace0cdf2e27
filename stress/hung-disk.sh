#!/usr/bin/env bash
# What do 40 sessions on a disk that hangs cost the others? Half of them make directories and half end uploads on an ext4
# image that is frozen. A good answer: the 99th percentile of every command of others stays below 50 ms, a new command on
# the frozen disk is refused within seconds, and the sessions that wait get their replies when the disk answers again.
# Usage: stress/hung-disk.sh [SECONDS=10]. Needs root, python3, mkfs.ext4 and fsfreeze.
. "$(dirname "$0")/lib.sh"
for program in python3 mkfs.ext4 fsfreeze; do
    command -v "$program" >/dev/null || { echo "SKIPPED hung-disk: $program is not here"; exit 0; }
done
mkdir -p "$work/root/bad" "$work/root/good"
truncate -s 64M "$work/image"
mkfs.ext4 -q "$work/image"
mount -o loop "$work/image" "$work/root/bad" 2>/dev/null || { echo "SKIPPED hung-disk: an image cannot be mounted here"; exit 0; }
unfreeze() {
    fsfreeze --unfreeze "$work/root/bad" 2>/dev/null || true
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    umount -l "$work/root/bad"
    finish
}
trap unfreeze EXIT INT TERM
chmod 777 "$work/root/bad" "$work/root/good"
start_server --workers 4 --write --max-per-ip 1000
python3 - "$port" "$work/root/bad" "${1:-10}" <<'PYTHON'
import re, socket, subprocess, sys, threading, time
port, bad, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
class Client:
    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.lines = self.socket.makefile("rb")
        self.reply()
        self.ask("USER anonymous")
        self.ask("PASS me")
    def reply(self):
        while True:
            line = self.lines.readline().decode()
            if line[3:4] == " ": return line
    def send(self, line): self.socket.sendall(line.encode() + b"\r\n")
    def ask(self, line):
        self.send(line)
        return self.reply()
    def data(self):
        where = re.search(r"\|\|\|(\d+)\|", self.ask("EPSV"))
        return socket.create_connection(("127.0.0.1", int(where[1])), 60)
    def transfer(self, line, content=None):
        data = self.data()
        assert self.ask(line).startswith("150"), line
        if content is None:
            while data.recv(1 << 20): pass
        else: data.sendall(content)
        data.close()
        assert self.reply().startswith("226"), line
makers, uploaders = [Client() for _ in range(20)], [Client() for _ in range(20)]
uploads = []
for number, client in enumerate(uploaders):
    uploads.append(client.data())
    assert client.ask("STOR /bad/up-%d" % number).startswith("150")
subprocess.run(["fsfreeze", "--freeze", bad], check=True)
for number, client in enumerate(makers): client.send("MKD /bad/made-%d" % number)
for data in uploads: data.sendall(b"content"); data.close()
member = Client()
member.transfer("STOR /good/file", bytes(65536))
commands = {
    "NOOP": lambda: member.ask("NOOP"),
    "login": lambda: Client().socket.close(),
    "LIST": lambda: member.transfer("LIST /good"),
    "RETR 64 KiB": lambda: member.transfer("RETR /good/file"),
    "STOR 64 KiB": lambda: member.transfer("STOR /good/file", bytes(65536)),
    "MKD and RMD": lambda: (member.ask("MKD /good/d"), member.ask("RMD /good/d")),
}
times, end = {name: [] for name in commands}, time.monotonic() + seconds
while time.monotonic() < end:
    for name, command in commands.items():
        begun = time.monotonic()
        command()
        times[name].append(1000 * (time.monotonic() - begun))
well = True
for name, measured in times.items():
    measured.sort()
    p99 = measured[int(0.99 * len(measured))]
    well &= p99 < 50
    print("%-12s median %6.2f ms, p99 %6.2f ms, slowest %6.2f ms, %d times" % (
        name, measured[len(measured) // 2], p99, measured[-1], len(measured)))
late = []
for number in range(12):
    client, begun = Client(), time.monotonic()
    reply = client.ask("MKD /bad/new-%d" % number)
    late.append(time.monotonic() - begun)
    well &= reply[:2] == "45"
    if number in (0, 11): print("new command %2d on the frozen disk: %.2f s, %s" % (number + 1, late[-1], reply.strip()))
well &= max(late) < 5
subprocess.run(["fsfreeze", "--unfreeze", bad], check=True)
replies = sorted({client.reply()[:3] for client in makers + uploaders})
print("the sessions that waited:", " ".join(replies))
well &= replies == ["226", "257"]
print("PASS hung-disk" if well else "FAIL hung-disk")
PYTHON
