#!/usr/bin/env python3
"""A link with a delay between two network namespaces, also on kernels without netem: two TUN devices, and
a relay between them that holds each packet back.

Usage: delay.py MILLISECONDS NAMESPACE/DEVICE/ADDRESS NAMESPACE/DEVICE/ADDRESS
Prints "ready" when both ends are up. Ends when it is killed, or when a namespace and its device are removed.
"""

import collections
import fcntl
import os
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MTU = 9000
# More packets in flight than this are dropped, as a router does.
PACKETS_MAX = 20000


def end(namespace, device, address):
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "link", "set", device, "netns", namespace], check=True)
    inside = ["ip", "-n", namespace]
    subprocess.run([*inside, "addr", "add", address, "dev", device], check=True)
    subprocess.run([*inside, "link", "set", device, "mtu", str(MTU), "txqueuelen", "10000", "up"], check=True)
    return tun


def main():
    delay = float(sys.argv[1]) / 1000
    one, two = (end(*place.split("/", 2)) for place in sys.argv[2:4])
    print("ready", flush=True)
    queues = {one: (collections.deque(), two), two: (collections.deque(), one)}
    while True:
        due = [queue[0][0] for queue, _ in queues.values() if queue]
        wait = max(0.0, min(due) - time.monotonic()) if due else None
        readable, _, _ = select.select([one, two], [], [], wait)
        now = time.monotonic()
        for tun in readable:
            queue, _ = queues[tun]
            try:
                while True:
                    packet = os.read(tun, 65536)
                    if len(queue) < PACKETS_MAX:
                        queue.append((now + delay, packet))
            except BlockingIOError:
                pass
            except OSError:
                return  # The namespace is gone, and the device with it.
        for queue, other in queues.values():
            while queue and queue[0][0] <= now:
                try:
                    os.write(other, queue.popleft()[1])
                except OSError:
                    pass


main()
