"""The table of compare.sh: its argument is a file with a line of ftpbench's JSON for each measurement."""
import json
import statistics
import sys
from collections import defaultdict

OURS, LIMIT = "poolftpd", "the-limit"
OTHERS = ["vsftpd", "ProFTPD", "Pure-FTPd", "pyftpdlib", "unftp"]
SIZES = {"1024": "1 KiB", "65536": "64 KiB", "1048576": "1 MiB", "33554432": "32 MiB"}


def entries_per_second(row):
    return row["done"] * int(row["case"].rsplit("-", 1)[1]) / row["seconds"] / 1e3


def per_second(row):
    return row["done"] / row["seconds"]


def gigabytes_per_second(row):
    return row["bytes"] / row["seconds"] / 1e9


def cpu_per_gigabyte(row):
    return row["server_cpu"] / row["bytes"] * 1e9


def cpu_each(row):
    return row["server_cpu"] / row["done"] * 1e6


def milliseconds(of):
    return lambda row: row[of] * 1e3


# kind of case, what it is called, row of ftpbench, what is told of it, how, whether more is better
MEASURES = [
    ("RETR", "RETR of 256 MiB, {1} at once", "RETR", "GB/s", gigabytes_per_second, True),
    ("RETR", "RETR of 256 MiB, {1} at once", "RETR", "CPU s/GB", cpu_per_gigabyte, False),
    ("STOR", "STOR of 256 MiB, {1} at once", "STOR", "GB/s", gigabytes_per_second, True),
    ("STOR", "STOR of 256 MiB, {1} at once", "STOR", "CPU s/GB", cpu_per_gigabyte, False),
    ("files", "files of {1}, {2} at once", "files", "files/s", per_second, True),
    ("files", "files of {1}, {2} at once", "files", "CPU µs/file", cpu_each, False),
    ("files", "files of {1}, {2} at once", "files", "p50 ms", milliseconds("p50"), False),
    ("blocks", "the same in block mode; others in stream mode", "files", "files/s", per_second, True),
    ("ahead", "the same, each asking for 16 ahead", "files", "files/s", per_second, True),
    ("login", "connect, log in, leave, {1} at once", "logins", "logins/s", per_second, True),
    ("login", "connect, log in, leave, {1} at once", "logins", "CPU µs each", cpu_each, False),
    ("login", "connect, log in, leave, {1} at once", "logins", "p50 ms", milliseconds("p50"), False),
    ("burst", "100 at once get {1}", "all of them", "all, ms", milliseconds("p50"), False),
    ("burst", "100 at once get {1}", "clients", "slowest/fastest", lambda row: row["spread"], False),
    ("idle", "{1} idle sessions", "NOOP", "KiB each", lambda row: row["server_kib"] / row["clients"], False),
    ("idle", "{1} idle sessions", "NOOP", "kernel KiB each, both ends", lambda row: row["kernel_kib"] / row["clients"], False),
    ("interactive", "NOOP beside 4 downloads", "commands", "p99 ms", milliseconds("p99"), False),
    ("interactive", "NOOP beside 4 downloads", "RETR", "GB/s beside", gigabytes_per_second, True),
    ("mix", "NOOP beside {1} downloads and 50 slow readers", "commands", "p99 ms", milliseconds("p99"), False),
    ("mix", "NOOP beside {1} downloads and 50 slow readers", "RETR", "GB/s beside", gigabytes_per_second, True),
    ("mix", "NOOP beside {1} downloads and 50 slow readers", "RETR", "most/least of a download", lambda row: row["spread"], False),
    ("list", "LIST of {1} entries", "LIST", "1000 entries/s", entries_per_second, True),
    ("mlsd", "MLSD of {1} entries", "MLSD", "1000 entries/s", entries_per_second, True),
]


def values(rows, measure):
    """What was measured in each round in which the server got through."""
    found = {}
    for row in rows:
        try:
            if value := measure(row):
                found[row["round"]] = value
        except (ZeroDivisionError, TypeError):
            pass
    return found


def show(value):
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def median(values):
    return statistics.median(values) if values else None


def ratio(ours, other):
    """The median of the ratios of those rounds that both have."""
    return median([value / other[at] for at, value in ours.items() if at in other])


def main():
    found = defaultdict(lambda: defaultdict(list))
    order, failed = [], defaultdict(int)
    for line in open(sys.argv[1]):
        row = json.loads(line)
        failed[row["server"], row["case"]] += row["failed"]
        if row["case"] not in order:
            order.append(row["case"])
        found[row["case"], row["what"]][row["server"]].append(row)
    print("| what | " + " | ".join([OURS, *OTHERS, "the limit", "ours/best", "ours/limit"]) + " |")
    print("| --- |" + " --- |" * (len(OTHERS) + 4))
    for case in order:
        kind, *sizes = case.split("-")
        for of, name, what, unit, measure, more in MEASURES:
            rows = found.get((case, what))
            if of != kind or not rows:
                continue
            # Nobody else has block mode: their stream mode is what it is compared with.
            like = case.replace("blocks", "files").replace("ahead", "files")
            beside = found.get((like, what), rows)
            known = {server: values(rows[server], measure) for server in rows}
            others = {server: values(beside[server], measure) for server in OTHERS if server in beside}
            ranked = sorted((median(each.values()), server) for server, each in others.items() if each)
            best = others[ranked[-1 if more else 0][1]] if ranked else {}
            ours = known.get(OURS, {})
            cells = [show(median(known.get(server, {}).values())) for server in [OURS, *OTHERS, LIMIT]]
            cells += [show(ratio(ours, best)), show(ratio(ours, known.get(LIMIT, {})))]
            label = name.format(kind, *[SIZES.get(size, f"{int(size):,}" if size.isdigit() else size) for size in sizes])
            print(f"| {label}, {unit} | " + " | ".join(cells) + " |")
    told = [f"{count} of {server}'s {case}" for (server, case), count in failed.items() if count]
    print(f"\nTransfers or commands that failed: {', '.join(told) or 'none'}")


main()
