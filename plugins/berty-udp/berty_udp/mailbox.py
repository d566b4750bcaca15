"""What waits for somebody to take it. Invariant: at most so many items; the oldest make room for the newest."""

from __future__ import annotations

from typing import Generic, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A bounded queue from a reader of sockets, which never waits, to one taker."""

    def __init__(self, room: int) -> None:
        self._send, self.taker = anyio.create_memory_object_stream[T](room)

    taker: MemoryObjectReceiveStream[T]

    def put(self, item: T) -> None:
        """Add an item; once nobody takes any more, it is gone."""
        try:
            self._send.send_nowait(item)
        except anyio.WouldBlock:
            self.taker.receive_nowait()
            self._send.send_nowait(item)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    def end(self) -> None:
        """Let the taker have what waits, and then the end."""
        self._send.close()
