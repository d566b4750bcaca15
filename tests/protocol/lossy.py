"""A link between two machines under a clock of its own: what it does to each datagram is up to the test."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Protocol

import attrs

Fate = Callable[[bytes], list[float]]  # the delays of a datagram's copies; none: it is lost


class Machine(Protocol):
    """One end of a stream over datagrams."""

    is_lost: bool
    is_readable: bool
    has_ended: bool

    def push(self, data: bytes, now: float) -> int: ...
    def read(self, now: float) -> bytes: ...
    def finish(self) -> None: ...
    def receive(self, datagram: bytes, now: float) -> None: ...
    def take(self, now: float) -> bytes | None: ...
    def timeout(self) -> float | None: ...
    def wake(self, now: float) -> None: ...


@attrs.define(eq=False)
class End:
    """One machine, what its user wants to say, and what it read."""

    machine: Machine
    fate: Fate
    unsent: bytes = b""
    airtime: float = 0.0  # seconds for each byte
    reads: bool = True
    finishes: bool = True
    received: bytearray = attrs.field(factory=bytearray)
    sent: list[bytes] = attrs.field(factory=list)
    free_at: float = 0.0

    def use(self, now: float) -> None:
        """Say what can be said, and read what is there."""
        self.unsent = self.unsent[self.machine.push(self.unsent, now) :]
        if not self.unsent and self.finishes:
            self.machine.finish()
        if self.reads:
            self.received += self.machine.read(now)


class Lab:
    """Two ends and the time."""

    def __init__(self, one: End, other: End) -> None:
        self.ends = (one, other)
        self.now = 0.0
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._count = 0

    def run(self, until: Callable[[], bool], limit: float = 100_000.0) -> None:
        """Let time pass until something is so; AssertionError where nothing more can happen before."""
        while True:
            for number, end in enumerate(self.ends):
                end.use(self.now)
                self._send(number, end)
                end.use(self.now)
            if until():
                return
            assert self._step() <= limit, "this did not come true in time"

    def _send(self, number: int, end: End) -> None:
        while end.free_at <= self.now and (datagram := end.machine.take(self.now)) is not None:
            end.sent.append(datagram)
            end.free_at = self.now + end.airtime * len(datagram)
            for delay in end.fate(datagram):
                self._count += 1
                heapq.heappush(self._under_way, (end.free_at + delay, self._count, 1 - number, datagram))

    def _step(self) -> float:
        """Go to the next moment at which something happens."""
        times = [self._under_way[0][0]] if self._under_way else []
        for end in self.ends:
            if end.free_at > self.now:
                times.append(end.free_at)
            elif (due := end.machine.timeout()) is not None:
                times.append(due)
        assert times, "nothing will ever happen again"
        self.now = max(self.now, min(times))
        while self._under_way and self._under_way[0][0] <= self.now:
            _, _, number, datagram = heapq.heappop(self._under_way)
            self.ends[number].machine.receive(datagram, self.now)
            self.ends[number].use(self.now)
        for end in self.ends:
            end.machine.wake(self.now)
        return self.now


def chance(
    seed: int,
    *,
    loss: float = 0.0,
    duplication: float = 0.0,
    reorder: float = 0.0,
    delay: float = 0.01,
    spread: float = 0.05,
) -> Fate:
    """Faults by probability; of four datagrams in a row one comes through."""
    lost = 0
    dice = random.Random(seed)

    def fate(_: bytes) -> list[float]:
        nonlocal lost
        lost = lost + 1 if dice.random() < loss and lost < 3 else 0
        if lost:
            return []
        copies = 2 if dice.random() < duplication else 1
        return [delay + (dice.random() * spread if dice.random() < reorder else 0.0) for _ in range(copies)]

    return fate
