"""The table of monitoring-cost.sh: its argument is a file with a line of ftpbench's JSON for each measurement."""
import json
import statistics
import sys
from collections import defaultdict

GOAL = 0.03
ROWS = {"RETR": ("RETR", "bytes"), "STOR": ("STOR", "bytes"), "files": ("files", "done"), "login": ("logins", "done")}


def ratios(rows, value):
    """The ratios of on to off, of the rounds that have both."""
    found = defaultdict(dict)
    for row in rows:
        if number := value(row):
            found[row["round"]][row["which"]] = number
    return [both["on"] / both["off"] for both in found.values() if len(both) == 2]


def main():
    cases = defaultdict(list)
    for line in open(sys.argv[1]):
        row = json.loads(line)
        if row.get("what") in (None, ROWS[row["case"].split("-")[0]][0]):
            cases[row["case"]].append(row)
    print("| case | rounds | throughput, on/off | quartiles | CPU of the server for the same, on/off | quartiles |")
    print("| --- | --- | --- | --- | --- | --- |")
    transfers = []
    for case, rows in cases.items():
        unit = ROWS[case.split("-")[0]][1]
        speed = ratios(rows, lambda row: row[unit] / row["seconds"])
        cpu = ratios(rows, lambda row: row["server_cpu"] / row[unit] if row[unit] else None)
        cells = [case, str(len(speed))]
        for found in speed, cpu:
            if len(found) < 2:
                cells += ["", ""]
                continue
            low, middle, high = statistics.quantiles(found, n=4)
            cells += [f"{middle:.3f}", f"{low:.3f} to {high:.3f}"]
        if case.split("-")[0] in ("RETR", "STOR") and len(cpu) > 1:
            transfers.append(statistics.median(cpu))
        print("| " + " | ".join(cells) + " |")
    if transfers:
        worst = max(transfers) - 1
        word = "OK" if worst <= GOAL else "TOO MUCH"
        print(f"{word}: transfers cost {worst:+.1%} of processor time at most (goal: {GOAL:.0%})")


main()
