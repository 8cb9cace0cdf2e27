"""The clients of upgrades.sh, and the servers that replace each other."""

import collections
import ftplib
import hashlib
import io
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time

PATIENCE = 120


class Site:
    """The running servers: the first one, and those that replace it."""

    def __init__(self, program, work, is_managed):
        self.program, self.work, self.is_managed = program, work, is_managed
        self.environment = dict(os.environ)
        self.processes = []
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.flags = [
            f"--root={work}/root", "--bind=127.0.0.1", f"--port={self.port}", "--quiet", "--write",
            "--no-fsync", "--max-per-ip=20000", "--max-clients=20000", "--stop-grace=120",
        ]
        command = [program, *self.flags]
        if is_managed:
            listener.listen(8192)
            self.listener = listener
            path = f"{work}/notify"
            self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.manager.bind(path)
            self.manager.settimeout(PATIENCE)
            self.environment["NOTIFY_SOCKET"] = path
            os.dup2(listener.fileno(), 3, inheritable=True)
            shell = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"'
            command = ["sh", "-c", shell, *command]
        else:
            listener.close()
        first = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, pass_fds=(3,) if is_managed else ())
        first.stdout.readline()
        self.first = first
        self.processes.append(first.pid)
        if is_managed:
            os.close(3)
            self.expect("READY=1")

    def expect(self, start):
        """Returns the next message to the manager that begins like this."""
        while True:
            text = self.manager.recv(4096).decode()
            if "STOPPING" in text:
                raise RuntimeError("a server that was replaced reports that the service stops")
            if text.startswith(start):
                return text

    def upgrade(self):
        """Replaces the server by a new file of the program, as a package does."""
        new = f"{self.work}/ftpserver-{len(self.processes)}"
        shutil.copy2(self.program, new)
        done = subprocess.run(
            [new, "update", *self.flags], env=self.environment, stdout=subprocess.PIPE, check=True)
        process = int(done.stdout.split()[-1])
        self.processes.append(process)
        if self.is_managed and self.expect("MAINPID=") != f"MAINPID={process}":
            raise RuntimeError("the manager was not told of the new process")

    def end(self):
        """Stops the newest server; returns how many of the earlier ones still run."""
        subprocess.run([self.program, "ctl", f"--port={self.port}", "stop"], stdout=subprocess.DEVNULL, check=True)
        until = time.monotonic() + PATIENCE
        left = [self.first.pid]
        while left and time.monotonic() < until:
            self.first.poll()
            left = [process for process in self.processes if is_running(process)]
            time.sleep(0.1)
        return len(left)


def is_running(process):
    try:
        with open(f"/proc/{process}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def client(site, number, content, expected, done, counts, lock):
    """Connects, receives, sends and leaves, again and again."""
    while not done.is_set():
        outcome = "whole"
        try:
            with ftplib.FTP() as ftp:
                ftp.connect("127.0.0.1", site.port, timeout=PATIENCE)
                ftp.login()
                digest = hashlib.sha256()
                ftp.retrbinary("RETR file.bin", digest.update)
                if digest.hexdigest() != expected:
                    outcome = "wrong"
                name = f"up-{number}"
                ftp.storbinary(f"STOR {name}", io.BytesIO(content))
                with open(f"{site.work}/root/{name}", "rb") as stored:
                    if hashlib.sha256(stored.read()).hexdigest() != expected:
                        outcome = "wrong"
                ftp.quit()
        except ConnectionRefusedError:
            outcome = "refused"
        except (OSError, EOFError, ftplib.Error) as error:
            outcome = "cut"
            print(f"client {number}: {error!r}", file=sys.stderr)
        with lock:
            counts[outcome] += 1


def run(program, work, clients, upgrades, is_managed):
    site = Site(program, work, is_managed)
    with open(f"{work}/root/file.bin", "rb") as file:
        content = file.read()
    expected = hashlib.sha256(content).hexdigest()
    done, lock, counts = threading.Event(), threading.Lock(), collections.Counter()
    threading.stack_size(256 * 1024)
    threads = [
        threading.Thread(target=client, args=(site, number, content, expected, done, counts, lock))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for turn in range(upgrades + 1):
        # Between two upgrades, as many sessions end as there are clients.
        wanted = counts.total() + clients
        while counts.total() < wanted:
            time.sleep(0.01)
        if turn < upgrades:
            site.upgrade()
    done.set()
    for thread in threads:
        thread.join()
    left = site.end()
    bad = counts["refused"] + counts["cut"] + counts["wrong"] + left
    way = "socket of a service manager" if is_managed else "socket of its own"
    print(
        f"{'FAIL' if bad else 'PASS'} upgrades, {way}: {upgrades} upgrades under {clients} clients; of {counts.total()} "
        f"sessions {counts['refused']} refused, {counts['cut']} cut, {counts['wrong']} with a wrong SHA-256; "
        f"{left} earlier servers left", flush=True)
    return bad == 0


def main():
    program, work, clients, upgrades = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    good = [run(program, work, clients, upgrades, is_managed) for is_managed in (False, True)]
    sys.exit(0 if all(good) else 1)


main()
