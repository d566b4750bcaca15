"""The receiving half of a reliable stream: pieces in any order become bytes in order, and acknowledgements say so.

Invariant: at most `receive_window` datagrams are held, and what was acknowledged is never dropped.
"""

from __future__ import annotations

from collections import deque

from .tuning import Tuning
from .wire import MAX_MAP, Ack, near

TURN = 0.02  # seconds in which an answer may come that takes the acknowledgement with it


class Receiving:
    """Bytes on their way in."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self._next = 0  # all numbers below came
        self._early: dict[int, bytes] = {}
        self._end: int | None = None  # the number of the last piece
        self._ready: deque[bytes] = deque()
        self._unacknowledged = 0
        self._due: float | None = None
        self._edge = tuning.receive_window  # the other end sends numbers below this, as far as we told it

    @property
    def window(self) -> int:
        """How many datagrams more may come, from the next one on."""
        return self._tuning.receive_window - len(self._ready)

    @property
    def is_readable(self) -> bool:
        """Whether bytes wait to be read."""
        return bool(self._ready)

    @property
    def has_ended(self) -> bool:
        """Whether all bytes came, up to the end."""
        return self._end is not None and self._next > self._end

    @property
    def ack_is_due_at(self) -> float | None:
        """When an acknowledgement must go, with data or alone; None: there is nothing to acknowledge."""
        return self._due

    def take_in(self, number: int, payload: bytes, end: bool, ask: bool, now: float) -> None:
        """Keep a piece that is new and fits in the window."""
        whole = near(number, self._next)
        if whole < self._next or whole in self._early:
            return self._want_ack(now, at_once=not self._tuning.takes_turns)  # our acknowledgement was lost
        if whole >= self._next + self.window or not self._fits_the_end(whole, end):
            return None
        has_gap = whole > self._next and whole - 1 not in self._early
        self._early[whole] = payload
        if end:
            self._end = whole
        while self._next in self._early:
            ready = self._early.pop(self._next)
            self._next += 1
            if ready:
                self._ready.append(ready)
        if ask and self._tuning.takes_turns:
            self._due = now + TURN
            self._unacknowledged += 1
            return None
        return self._want_ack(now, at_once=self.has_ended or (has_gap and not self._tuning.takes_turns))

    def _fits_the_end(self, number: int, end: bool) -> bool:
        """Nothing may come behind the end, and there is one end only."""
        if self._end is not None:
            return number < self._end and not end
        return not end or number >= max(self._early, default=0)

    def _want_ack(self, now: float, at_once: bool) -> None:
        self._unacknowledged += 1
        if at_once or self._unacknowledged >= self._tuning.ack_every:
            self._due = now
        elif self._due is None or self._tuning.takes_turns:
            self._due = now + self._tuning.ack_delay

    def answer(self, now: float) -> None:
        """The other end asks what came."""
        self._due = now

    def read(self, now: float) -> bytes:
        """All bytes that are there in order; the window opens for others."""
        data = b"".join(self._ready)
        self._ready.clear()
        if (self._edge - self._next) * 4 <= self._tuning.receive_window:
            self._due = now  # the other end waits, or soon will
        return data

    def ack(self, room: int) -> Ack:
        """What to acknowledge in `room` bytes of a map."""
        count = (max(self._early) - self._next + 7) // 8 if self._early else 0
        received = bytearray(max(0, min(count, room, MAX_MAP)))
        for number in self._early:
            bit = number - self._next - 1
            if bit // 8 < len(received):
                received[bit // 8] |= 1 << bit % 8
        return Ack(self._next & 0xFFFF, self.window, bytes(received).rstrip(b"\0"))

    def acknowledged(self, ack: Ack) -> None:
        """An acknowledgement goes out."""
        self._due = None
        self._unacknowledged = 0
        self._edge = self._next + ack.window
