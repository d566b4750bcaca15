"""A hub for TAP devices, as bad as a test wants: it loses, repeats and reorders datagrams, and drops large ones.

    python relay.py 3 '{"loss": 0.2, "repeat": 0.05, "reorder": 0.2, "mtu": 233, "seed": 1}'

It makes tap1 to tap3 in its own namespace and holds them open; a device may then be moved to another namespace.
Lines of JSON on standard input change the settings (`{"loss": 0}`), cut a port off (`{"cut": [2]}`) or ask for the
counts (`{}`); each is answered by one line. Only UDP is treated badly: address resolution and neighbour discovery pass.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import json
import os
import random
import select
import struct
import sys
import time
from typing import Any

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x2, 0x1000
UDP, IPV4, IPV6 = 17, 0x0800, 0x86DD


def open_tap(name: str) -> int:
    """A descriptor that carries the frames of a new TAP device."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


def udp_payload(frame: bytes) -> int | None:
    """How many bytes of UDP payload a frame carries; None if it is no UDP. A fragment of IP counts as too large."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == IPV4 and frame[23] == UDP:
        fragmented = int.from_bytes(frame[20:22], "big") & 0x3FFF
        return 65_536 if fragmented else int.from_bytes(frame[16:18], "big") - (frame[14] & 0xF) * 4 - 8
    if kind == IPV6 and frame[20] == UDP:
        return int.from_bytes(frame[18:20], "big") - 8
    return 65_536 if kind == IPV6 and frame[20] == 44 else None  # 44: a fragment


class Relay:
    """The hub."""

    def __init__(self, ports: int, settings: dict[str, Any]) -> None:
        self.taps = {open_tap(f"tap{number}"): number for number in range(1, ports + 1)}
        self.settings = {
            "loss": 0.0,
            "repeat": 0.0,
            "reorder": 0.0,
            "delay": 0.05,
            "mtu": 65_535,
            "cut": [],
            **settings,
        }
        self.counts = {"datagrams": 0, "bytes": 0, "lost": 0, "repeated": 0, "reordered": 0, "too large": 0}
        self._random = random.Random(self.settings.get("seed", 0))
        self._later: list[tuple[float, int, int, bytes]] = []
        self._numbers = itertools.count()

    def run(self) -> None:
        """Carry frames until standard input ends."""
        print("up", flush=True)
        while True:
            wait = max(0.0, self._later[0][0] - time.monotonic()) if self._later else None
            ready, _, _ = select.select([0, *self.taps], [], [], wait)
            self._send_due()
            if 0 in ready and not self._obey():
                return
            for tap in self.taps.keys() & set(ready):
                self._frame(tap)

    def _obey(self) -> bool:
        line = sys.stdin.readline()
        if not line:
            return False
        self.settings.update(json.loads(line))
        print(json.dumps(self.counts), flush=True)
        return True

    def _frame(self, tap: int) -> None:
        try:
            frame = os.read(tap, 65_536)
        except OSError:  # the device is down
            return
        size = udp_payload(frame)
        if self.taps[tap] in self.settings["cut"]:
            return
        if size is not None:
            self.counts["datagrams"] += 1
            self.counts["bytes"] += size
            if size > self.settings["mtu"]:
                self.counts["too large"] += 1
                return
        for other, number in self.taps.items():
            if other != tap and number not in self.settings["cut"]:
                self._pass(other, frame, spare=size is None)

    def _pass(self, tap: int, frame: bytes, *, spare: bool) -> None:
        if not spare and self._happens("loss", "lost"):
            return
        copies = 2 if not spare and self._happens("repeat", "repeated") else 1
        for _ in range(copies):
            late = not spare and self._happens("reorder", "reordered")
            due = time.monotonic() + (self._random.random() * self.settings["delay"] if late else 0.0)
            heapq.heappush(self._later, (due, next(self._numbers), tap, frame))
        self._send_due()

    def _happens(self, what: str, counted: str) -> bool:
        happens = self._random.random() < self.settings[what]
        self.counts[counted] += happens
        return bool(happens)

    def _send_due(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            _, _, tap, frame = heapq.heappop(self._later)
            try:
                os.write(tap, frame)
            except OSError:  # the device is down, or full
                self.counts["lost"] += 1


if __name__ == "__main__":
    Relay(int(sys.argv[1]), json.loads(sys.argv[2])).run()
