"""The table of compare.sh: its argument is a file with a line of ftpbench's JSON for each measurement."""
import json
import statistics
import sys
from collections import defaultdict

SERVERS = ["poolftpd", "vsftpd", "ProFTPD", "Pure-FTPd", "pyftpdlib", "unftp", "the-limit"]
# case prefix, row of ftpbench, what is told, whether more is better, decimals
MEASURES = [
    ("RETR", "RETR", "GB/s", lambda r: r["bytes"] / r["seconds"] / 1e9, True),
    ("RETR", "RETR", "CPU s/GB", lambda r: r["server_cpu"] / (r["bytes"] / 1e9), False),
    ("STOR", "STOR", "GB/s", lambda r: r["bytes"] / r["seconds"] / 1e9, True),
    ("STOR", "STOR", "CPU s/GB", lambda r: r["server_cpu"] / (r["bytes"] / 1e9), False),
    ("files", "files", "files/s", lambda r: r["done"] / r["seconds"], True),
    ("files", "files", "CPU µs/file", lambda r: r["server_cpu"] / r["done"] * 1e6, False),
    ("files", "files", "p50 ms", lambda r: r["p50"] * 1e3, False),
    ("blocks", "files", "files/s", lambda r: r["done"] / r["seconds"], True),
    ("login", "logins", "logins/s", lambda r: r["done"] / r["seconds"], True),
    ("login", "logins", "CPU µs each", lambda r: r["server_cpu"] / r["done"] * 1e6, False),
    ("login", "logins", "p50 ms", lambda r: r["p50"] * 1e3, False),
    ("burst", "all of them", "all, ms", lambda r: r["p50"] * 1e3, False),
    ("burst", "clients", "slowest/fastest", lambda r: r["spread"], False),
    ("idle", "NOOP", "KiB each", lambda r: r["server_kib"] / r["clients"], False),
    ("idle", "NOOP", "kernel KiB, both ends", lambda r: r["kernel_kib"] / r["clients"], False),
    ("idle", "NOOP", "threads + processes", lambda r: r["threads"] + r["processes"], False),
    ("interactive", "commands", "p99 ms", lambda r: r["p99"] * 1e3, False),
    ("interactive", "RETR", "GB/s beside", lambda r: r["bytes"] / r["seconds"] / 1e9, True),
    ("mix", "commands", "p99 ms", lambda r: r["p99"] * 1e3, False),
    ("mix", "RETR", "GB/s beside", lambda r: r["bytes"] / r["seconds"] / 1e9, True),
    ("list", "LIST", "1000 entries/s", None, True),
    ("mlsd", "MLSD", "1000 entries/s", None, True),
]


def entries(case):
    count = int(case.rsplit("-", 1)[1])
    return lambda r: r["done"] * count / r["seconds"] / 1e3


def show(value):
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def main():
    found = defaultdict(lambda: defaultdict(list))
    order, failed = [], 0
    for line in open(sys.argv[1]):
        row = json.loads(line)
        failed += row["failed"]
        if row["case"] not in order:
            order.append(row["case"])
        found[row["case"], row["what"]][row["server"]].append(row)
    print("| what | | " + " | ".join(SERVERS) + " | against the best |")
    print("| --- | --- |" + " --- |" * (len(SERVERS) + 1))
    for case in order:
        for prefix, what, unit, measure, more in MEASURES:
            rows = found.get((case, what))
            if case.split("-")[0] != prefix or not rows:
                continue
            measure = measure or entries(case)
            values = {}
            for server, measured in rows.items():
                usable = [r for r in measured if r["done"] or r["bytes"] or "idle" in case]
                try:
                    values[server] = statistics.median(measure(r) for r in usable)
                except (ZeroDivisionError, TypeError, statistics.StatisticsError):
                    pass
            others = [values[s] for s in SERVERS[1:-1] if s in values]
            ratio = ""
            if others and "poolftpd" in values:
                best = max(others) if more else min(others)
                ratio = f"{values['poolftpd'] / best:.2f}" if best else ""
            cells = " | ".join(show(values.get(server)) for server in SERVERS)
            print(f"| {case} | {unit} | {cells} | {ratio} |")
    print(f"\n{failed} transfers or commands failed")


main()
