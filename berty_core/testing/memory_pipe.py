"""Bytes under way in one direction of a link in memory. Invariant: at most `ROOM` bytes and one chunk wait in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import anyio
import anyio.lowlevel

from ..errors import LinkLost

ROOM = 64 * 1024


class Medium(Protocol):
    """How bytes pass: in pieces of at most `chunk` bytes, each of which takes `latency` seconds."""

    chunk: int
    latency: float


class Direction(ABC):
    """One direction of a link, of bytes or of datagrams: what can happen to both, and how they are used."""

    def __init__(self) -> None:
        self._ended = False
        self._broken = ""  # why the sender cannot send any more
        self._abandoned = ""  # why the receiver takes nothing any more
        self._stalled = False
        self._left: int | None = None
        self._at_loss: Callable[[], None] = lambda: None
        self._changed = anyio.Event()

    @abstractmethod
    async def put(self, data: bytes) -> None:
        """Hand over data; LinkLost once this direction is closed or lost."""

    @abstractmethod
    async def get(self) -> bytes:
        """What comes next, empty at the end; LinkLost."""

    @property
    def is_open(self) -> bool:
        """Whether more can be put in."""
        return not (self._ended or self._broken)

    def end(self) -> None:
        """The sender is done; what is under way arrives."""
        self._ended = True
        self._change()

    def abandon(self, reason: str) -> None:
        """The receiver is done: it takes nothing more, and who sends finds that out."""
        self._abandoned = self._abandoned or reason
        if not self._ended:
            self._broken = self._broken or "the other end closed the link"
        self._change()

    def lose(self) -> None:
        """The path is broken, and both ends know."""
        if not self._ended:
            self._broken = self._broken or "the link broke"
        self._change()

    def lose_after(self, count: int, at_loss: Callable[[], None]) -> None:
        """Let `count` more pass, then break the path and call `at_loss`."""
        self._left, self._at_loss = count, at_loss
        if count == 0:
            self.lose()
            at_loss()

    def stall(self, stalled: bool) -> None:
        """Hold back what is under way, or let it go on."""
        self._stalled = stalled
        self._change()

    def _pass(self, count: int) -> None:
        """So many went in; the path breaks if they were the last that may."""
        if self._left is not None:
            self._left -= count
            if self._left == 0:
                self.lose()
                self._at_loss()
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class Pipe(Direction):
    """One direction: `put` waits for room, `get` for bytes; the end in good order is an empty piece."""

    def __init__(self, medium: Medium) -> None:
        super().__init__()
        self._medium = medium
        self._bytes = bytearray()

    async def put(self, data: bytes) -> None:
        """Hand over bytes; LinkLost once this direction is closed or lost."""
        await anyio.lowlevel.checkpoint()
        while self.is_open and data:
            room = self._room()
            if room <= 0:
                await self._changed.wait()
                continue
            self._take_in(data[:room])
            data = data[room:]
        if not self.is_open:
            raise LinkLost(self._broken or "the link was closed here")

    def _room(self) -> int:
        room = ROOM - len(self._bytes)
        return room if self._left is None else min(room, self._left)

    def _take_in(self, data: bytes) -> None:
        self._bytes += data
        self._pass(len(data))

    async def get(self) -> bytes:
        """The next piece, empty at the end; LinkLost once all that arrived before the loss is taken."""
        await anyio.lowlevel.checkpoint()
        while not self._abandoned:
            if self._bytes and not self._stalled:
                return await self._deliver()
            if self._ended and not self._stalled:
                return b""
            if self._broken:
                raise LinkLost(self._broken)
            await self._changed.wait()
        raise LinkLost(self._abandoned)

    async def _deliver(self) -> bytes:
        if self._medium.latency:
            await anyio.sleep(self._medium.latency)
        piece = bytes(self._bytes[: self._medium.chunk])
        del self._bytes[: len(piece)]
        self._change()
        return piece
