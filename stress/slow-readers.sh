#!/usr/bin/env bash
# Do 50 clients that read a few KB/s keep one that is in a hurry from its file?
# A good answer: the hurried client is about as fast as alone, and the slow ones cost next to no CPU.
# Usage: stress/slow-readers.sh [READERS=50] [MEGABYTES=32]
. "$(dirname "$0")/lib.sh"
readers=${1:-50} megabytes=${2:-32}
command -v python3 >/dev/null || { echo "SKIP slow-readers: python3 is not installed"; exit 0; }
make_file file.bin "$megabytes"
start_server --max-per-ip 10000 --workers 2
python3 - "$port" "$readers" "$server" "$work" "$programs/ftpclient" "$megabytes" <<'END'
import filecmp, os, re, socket, statistics, subprocess, sys, threading, time

port, count, server, work, ftpclient, megabytes = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6], sys.argv[6]

def cpu():
    with open(f"/proc/{server}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

def hear(client, code):
    heard = b""
    while not re.search(rb"(?m)^%d [^\n]*\n" % code, heard):
        heard += client.recv(500)
    return heard

def get():
    begun = time.monotonic()
    subprocess.run([ftpclient, "-q", "-c", "get file.bin; bye", "127.0.0.1", str(port)], cwd=work, check=True)
    assert filecmp.cmp(f"{work}/file.bin", f"{work}/root/file.bin", shallow=False)
    return time.monotonic() - begun

alone = statistics.median(get() for _ in range(7))
slow = []
for _ in range(count):
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"USER anonymous\r\nPASS x\r\nTYPE I\r\nEPSV\r\n")
    data = socket.create_connection(("127.0.0.1", int(hear(client, 229).rsplit(b"|", 2)[1])))
    client.sendall(b"RETR file.bin\r\n")
    hear(client, 150)
    slow.append((client, data))
ended = threading.Event()

def read_slowly():
    # 4 KiB a second from each.
    while not ended.wait(1):
        for _, data in slow:
            data.recv(4096)

reader = threading.Thread(target=read_slowly)
reader.start()
before, begun = cpu(), time.monotonic()
times = [get() for _ in range(7)]
among = statistics.median(times)
busy, took = cpu() - before, time.monotonic() - begun
ended.set()
reader.join()
print(f"PASS slow-readers: {megabytes} MiB in {alone:.3f} s alone, {among:.3f} s (slowest {max(times):.3f}) among {count} "
      f"slow readers; server CPU {busy:.2f} s in {took:.1f} s")
END
