#!/usr/bin/env bash
# Does the time of an answer tell whether there is such a user? And what does a flood of guesses cost those who are logged in?
# A good answer: the medians for a wrong password and for nobody's name differ by less than either spreads, and a logged-in
# client's answers come as before.
# Usage: stress/guessing.sh [TRIES=90]. Needs python3.
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || { echo "SKIPPED guessing: python3 is not here"; exit 0; }
tries=${1:-90}
printf 'right\n' | "$programs/ftppasswd" "$work/users" alice
mkdir -p "$work/root"
start_server --max-per-ip 10000 --workers 2 --users "$work/users"
python3 - "$port" "$tries" <<'PYTHON'
import socket, statistics, sys, threading, time
port, tries = int(sys.argv[1]), int(sys.argv[2])
def connect(source):
    connection = socket.create_connection(("127.0.0.1", port), 60, (source, 0))
    return connection, connection.makefile("rb")
def ask(client, line):
    client[0].sendall(line.encode() + b"\r\n")
    return client[1].readline().decode()
def log_in(source, user, password):
    client = connect(source)
    client[1].readline()
    ask(client, "USER " + user)
    begun = time.monotonic()
    reply = ask(client, "PASS " + password)
    return time.monotonic() - begun, reply, client
_, reply, member = log_in("127.0.0.1", "alice", "right")
assert reply.startswith("230"), reply
def noop():
    begun = time.monotonic()
    assert ask(member, "NOOP").startswith("200")
    return time.monotonic() - begun
alone = [noop() for _ in range(200)]
# Each from an address of its own, whose first failure it is; known and unknown names side by side.
times, replies, lock = {"alice": [], "nobody": []}, set(), threading.Lock()
def guess(number):
    user = ("alice", "nobody")[number % 2]
    took, reply, client = log_in("127.1.%d.%d" % (number // 250, number % 250 + 1), user, "wrong")
    with lock:
        times[user].append(took)
        replies.add(reply)
    client[0].close()
# No more at one user than lock it out.
count = min(tries, 90)
threads = [threading.Thread(target=guess, args=(number,)) for number in range(count)]
for thread in threads: thread.start()
beside = []
while any(thread.is_alive() for thread in threads): beside.append(noop())
for thread in threads: thread.join()
ms = lambda values: statistics.median(values) * 1000
spread = max(statistics.stdev(times[user]) for user in times) * 1000
apart = abs(ms(times["alice"]) - ms(times["nobody"]))
p99 = lambda values: sorted(values)[int(len(values) * 0.99)] * 1000
good = len(replies) == 1 and apart <= max(spread, 1)
print("%s guessing: wrong password %.1f ms, nobody's name %.1f ms (medians of %d; spread %.1f ms); %d kind of reply; NOOP of a logged-in client p99 %.2f ms alone, %.2f ms beside %d guesses"
      % ("PASS" if good else "FAIL", ms(times["alice"]), ms(times["nobody"]), count // 2, spread, len(replies), p99(alone), p99(beside), count))
sys.exit(not good)
PYTHON
