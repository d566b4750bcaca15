"""One source, any number of listeners. Invariant: the source never waits, and memory is bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import anyio
from anyio.abc import ObjectReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

T = TypeVar("T")


class Fanout(Generic[T]):
    """What is put in comes out at every subscription that is open; `room` items wait at each."""

    def __init__(self, room: int = 1024) -> None:
        self._room = room
        self._ended = False
        self._open: list[tuple[MemoryObjectSendStream[T], MemoryObjectReceiveStream[T]]] = []

    def put(self, item: T) -> None:
        """Give an item to everybody who listens; who has taken too little loses the oldest."""
        for send, receive in self._open:
            try:
                send.send_nowait(item)
            except anyio.WouldBlock:
                receive.receive_nowait()
                send.send_nowait(item)
            except anyio.BrokenResourceError:  # it has closed its end, and will leave the block soon
                continue

    def end(self) -> None:
        """Let everybody have what waits, and then the end; later subscriptions end at once."""
        self._ended = True
        for send, _ in self._open:
            send.close()

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[ObjectReceiveStream[T]]:
        """Listen from now on."""
        pair = anyio.create_memory_object_stream[T](self._room)
        if self._ended:
            pair[0].close()
        self._open.append(pair)
        try:
            yield pair[1]
        finally:
            self._open.remove(pair)
            pair[0].close()
            pair[1].close()
