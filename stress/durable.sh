#!/usr/bin/env bash
# How long does a client wait for an upload that is flushed to a disk, beside dd conv=fsync of the same file to the same disk?
# A good answer: at most 1.1 times as long, and sixteen uploads at once take fewer flushes of the disk than sixteen dd.
# Prints a Markdown table. Needs root: it makes an image of each file system, and mounts it with a loop device.
# Usage: stress/durable.sh [ROUNDS=5] [FOLDER=/var/tmp, for the images] [SIZES='1 64 1024', in MiB]
#
# The rounds are interleaved, and each begins with the other one. The ratio is the median of the ratios of the rounds.
. "$(dirname "$0")/lib.sh"
rounds=${1:-5} folder=${2:-/var/tmp} sizes=${3:-1 64 1024}
[ "$(id -u)" = 0 ] || { echo "SKIP durable: it must be started as root"; exit 0; }
command -v python3 >/dev/null || { echo "SKIP durable: python3 is not installed"; exit 0; }
images=$(mktemp -d -p "$folder")
mounted=
leave() {
    [ -z "$server" ] || { kill "$server"; wait "$server" || true; server=; }
    [ -z "$mounted" ] || umount "$mounted"
    mounted=
}
source=$(mktemp -d -p /dev/shm)
trap 'leave; finish; rm -rf "$images" "$source"' EXIT INT TERM
for size in $sizes; do head -c "${size}M" /dev/urandom >"$source/$size"; done
mkdir "$work/root"
echo "| file system, MiB | upload, ms | dd, ms | upload/dd | flushes of the disk: an upload; a dd |"
echo "| --- | --- | --- | --- | --- |"
for kind in ext4 xfs; do
    command -v mkfs.$kind >/dev/null || { echo "mkfs.$kind is not installed" >&2; continue; }
    fallocate -l 6G "$images/$kind" && mkfs.$kind -q "$images/$kind"
    mount -o loop "$images/$kind" "$work/root" && mounted=$work/root
    rm -f "$work/ready"
    start_server --workers 4 --write
    python3 - "$port" "$work/root" "$source" "$kind" "$rounds" $sizes <<'END'
import concurrent.futures, ftplib, os, re, socket, statistics, subprocess, sys, time

port, root, source, kind, rounds, sizes = int(sys.argv[1]), *sys.argv[2:5], int(sys.argv[5]), sys.argv[6:]
device = os.stat(root).st_dev
counters = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat"

def flushes():
    with open(counters) as stat:
        return int(stat.read().split()[15])

def copy(size, number):
    words = ["dd", f"if={source}/{size}", f"of={root}/copy{number}", "bs=1M", "conv=fsync"]
    said = subprocess.run(words, stderr=subprocess.PIPE, check=True, text=True, env={"LC_ALL": "C"}).stderr
    return float(re.search(r"copied, ([0-9.e-]+) s", said)[1])

def upload(size, number):
    """The time from STOR to its last reply."""
    client = ftplib.FTP()
    client.connect("127.0.0.1", port)
    client.login()
    client.voidcmd("TYPE I")
    with open(f"{source}/{size}", "rb") as file:
        begun = time.monotonic()
        data = client.transfercmd(f"STOR upload{number}")
        data.sendfile(file)
        data.close()
        client.voidresp()
        took = time.monotonic() - begun
    client.quit()
    return took

def one(what, size, many):
    """The time until all have ended, and the flushes for each. All begin with a clean disk."""
    os.sync()
    before, begun = flushes(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(many) as threads:
        each = list(threads.map(lambda number: what(size, number), range(many)))
    took = each[0] if many == 1 else time.monotonic() - begun
    flushed = (flushes() - before) / many
    for number in range(many):
        os.remove(f"{root}/{what.__name__}{number}")
    return took * 1e3, flushed

for size, many in [(size, 1) for size in sizes] + [("1", 16)] * ("1" in sizes):
    # A small file is measured more often, because its time varies more.
    pairs = []
    for number in range(rounds * (5 if size == "1" else 1)):
        order = [upload, copy] if number % 2 else [copy, upload]
        done = {what: one(what, size, many) for what in order}
        pairs.append((done[upload], done[copy]))
    median = lambda figure: statistics.median(map(figure, pairs))
    name = f"{kind}, {size}" if many == 1 else f"{kind}, {many} at once, {size} each"
    print(f"| {name} | {median(lambda p: p[0][0]):.1f} | {median(lambda p: p[1][0]):.1f} | {median(lambda p: p[0][0] / p[1][0]):.2f} "
          f"| {median(lambda p: p[0][1]):.1f}; {median(lambda p: p[1][1]):.1f} |", flush=True)
END
    leave
    rm "$images/$kind"
done
