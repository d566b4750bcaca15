"""A stream of bytes over datagrams that are never lost and never out of order: cut, sent, put together again.

One byte of header and no acknowledgements (docs/reference/datagram-links.md, section 4). Invariant: an end that takes
the link for a worse one is found out by its first datagram.
"""

from __future__ import annotations

from collections import deque

from ..errors import LocalProtocolError, RemoteProtocolError
from .arq.wire import MIN_MTU, VERSION, Kind

BUFFERED = 65536
PIECE = bytes([Kind.PIECE << 4 | VERSION])
LAST = bytes([Kind.LAST_PIECE << 4 | VERSION])


class Fragments:
    """One end of a stream; used as a `ReliableStream` is. Its clock stands still."""

    def __init__(self, *, mtu: int) -> None:
        if mtu < MIN_MTU:
            raise LocalProtocolError(f"a datagram of {mtu} bytes is too small, {MIN_MTU} are needed")
        self.is_lost = False
        self.reason = ""
        self.has_ended = False
        self.is_done = False
        self._mtu = mtu
        self._out = bytearray()
        self._in: deque[bytes] = deque()
        self._finishing = False

    @property
    def room(self) -> int:
        """Bytes that `push` takes now."""
        return 0 if self._finishing or self.is_lost else max(0, max(BUFFERED, self._mtu) - len(self._out))

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._out

    @property
    def is_readable(self) -> bool:
        """Whether `read` has bytes."""
        return bool(self._in)

    @property
    def is_full(self) -> bool:
        """Whether nothing should be received before something is read."""
        return bool(self._in)

    def push(self, data: bytes, now: float) -> int:
        """Queue bytes for the other end; how many were taken."""
        taken = min(len(data), self.room)
        self._out += data[:taken]
        return taken

    def read(self, now: float) -> bytes:
        """All bytes that came; b"" if there are none."""
        data = b"".join(self._in)
        self._in.clear()
        return data

    def finish(self) -> None:
        """Close in good order, behind what is queued."""
        self._finishing = True

    def abort(self) -> None:
        """Give up at once."""
        self._lose("the stream was given up here")

    def receive(self, datagram: bytes, now: float) -> None:
        """Take in one datagram; RemoteProtocolError for anything that is no piece: nothing else is on such a link."""
        if self.has_ended or self.is_lost:
            return
        first = datagram[:1]
        if first not in (PIECE, LAST) or (first == PIECE and len(datagram) == 1) or len(datagram) > self._mtu:
            raise RemoteProtocolError("the other end does not take this link for one that never loses a datagram")
        if len(datagram) > 1:
            self._in.append(datagram[1:])
        self.has_ended = first == LAST

    def take(self, now: float) -> bytes | None:
        """The next datagram to send; None: there is none."""
        if self.is_lost or self.is_done or not (self._out or self._finishing):
            return None
        piece = bytes(self._out[: self._mtu - 1])
        del self._out[: len(piece)]
        self.is_done = self._finishing and not self._out
        return (LAST if self.is_done else PIECE) + piece

    def timeout(self) -> float | None:
        """Never."""
        return None

    def wake(self, now: float) -> None:
        """Nothing depends on time."""

    def _lose(self, reason: str) -> None:
        if not self.is_lost:
            self.is_lost, self.reason = True, reason
