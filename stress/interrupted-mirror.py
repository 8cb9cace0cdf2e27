"""The interrupts of interrupted-mirror.sh, and the comparison of both sides after each."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

FOLDERS = 50
FAULTS = ["SIGKILL", "SIGINT", "cut"]


def content(dice):
    size = dice.choice([0, 1, 2048, 2048, 2048, 70_000, 300_000])
    return dice.randbytes(size)


def write(path, data, seconds):
    with open(path, "wb") as file:
        file.write(data)
    os.utime(path, (seconds, seconds))


def tree(top):
    """The files of a tree, with the hash of each, and those that are parts of the client. Leaves out what the server hides."""
    files, parts = {}, []
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if name.startswith(".poolftpd-"):
                continue  # An interrupted upload that the server keeps for the next one.
            if name.endswith((".part", ".part.id")):
                parts.append(path)
                continue
            with open(path, "rb") as file:
                files[os.path.relpath(path, top)] = hashlib.blake2b(file.read()).digest()
    return files, parts


class Direction:
    """One direction of the mirror, with its two sides."""

    def __init__(self, site, is_upload):
        programs, work, port = site
        name = "up" if is_upload else "down"
        self.programs, self.port = programs, port
        remote, local = f"{work}/root/{name}", f"{work}/local-{name}"
        self.source, self.copy = (local, remote) if is_upload else (remote, local)
        arguments = f"-R {local} {name}" if is_upload else f"{name} {local}"
        self.command = f"mirror --delete --parallel 3 {arguments}"
        self.kept = os.path.join(local, "local.txt.keep")
        self.excludes = " --exclude *.keep"
        self.clock = 1_700_000_000
        self.took = 1.0

    def client(self):
        command = [f"{self.programs}/ftpclient", "-q", "--tls", "off", "-c", self.command + self.excludes]
        return subprocess.Popen([*command, "127.0.0.1", self.port], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def fill(self, dice, count):
        for number in range(count):
            self.change(dice, number)
        write(self.kept, b"mine", 1) if os.path.isdir(os.path.dirname(self.kept)) else None

    def change(self, dice, number):
        folder = os.path.join(self.source, str(number % FOLDERS))
        os.makedirs(folder, exist_ok=True)
        self.clock += 10
        write(os.path.join(folder, f"f{number}"), content(dice), self.clock)

    def run(self):
        """Runs the mirror to its end, and compares both sides."""
        begun = time.monotonic()
        client = self.client()
        errors = client.communicate(timeout=300)[1].decode()
        self.took = time.monotonic() - begun
        source, _ = tree(self.source)
        copy, parts = tree(self.copy)
        for side in (source, copy):
            side.pop("local.txt.keep", None)
        wrong = [path for path in source.keys() | copy.keys() if source.get(path) != copy.get(path)]
        if client.returncode or wrong or parts:
            return f"status {client.returncode}, {len(wrong)} files differ {wrong[:3]}, parts {parts[:3]}: {errors}"
        return None

    def interrupt(self, dice, fault):
        """Interrupts a mirror at a random moment; returns what is wrong then."""
        before, now = tree(self.copy)[0], tree(self.source)[0]
        client = self.client()
        try:
            client.wait(dice.uniform(0, self.took))
        except subprocess.TimeoutExpired:
            if fault == "cut":
                ctl = [f"{self.programs}/ftpserver", "ctl", "--port", self.port, "kick", "address", "127.0.0.1"]
                subprocess.run(ctl, stdout=subprocess.DEVNULL, check=False)
            else:
                client.send_signal(getattr(signal, fault))
        errors = client.communicate(timeout=300)[1].decode()
        copy, source = tree(self.copy)[0], tree(self.source)[0]
        if source != now:
            return "the source has changed"
        for path, found in copy.items():
            if path != "local.txt.keep" and found not in (before.get(path), now.get(path)):
                return f"{path} is neither old nor new: {errors}"
        if os.path.exists(os.path.dirname(self.kept)) and not os.path.exists(self.kept):
            return "a file that was left out is gone"
        return None


def main():
    programs, work, port, moments, files, seed = sys.argv[1:]
    dice = random.Random(int(seed))
    faults = 0
    for is_upload in (False, True):
        direction = Direction((programs, work, port), is_upload)
        os.makedirs(direction.source)
        os.makedirs(direction.copy, exist_ok=True)
        direction.fill(dice, int(files))
        for number in range(int(moments) // 2):
            if number % 5 == 0:
                # A copy from its beginning.
                shutil.rmtree(direction.copy)
                os.makedirs(direction.copy)
                write(direction.kept, b"mine", 1)
            else:
                for _ in range(int(files) // 20):
                    direction.change(dice, dice.randrange(int(files)))
                gone = dice.choice(list(tree(direction.source)[0].keys() - {"local.txt.keep"}))
                os.remove(os.path.join(direction.source, gone))
            fault = FAULTS[number % len(FAULTS)]
            wrong = direction.interrupt(dice, fault) or direction.run()
            if wrong:
                print(f"FAIL interrupted-mirror: {direction.command}, moment {number}, {fault}: {wrong}")
                sys.exit(1)
            faults += 1
    print(f"PASS interrupted-mirror: {faults} interrupts, the copy right each time")


main()
