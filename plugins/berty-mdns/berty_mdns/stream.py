"""One TCP connection as a byte stream.

Invariant: at most one chunk beyond 64 KiB waits unread, from the first moment on; then the peer has to wait.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

READ_AHEAD = 65536


class TcpStream(asyncio.Protocol, ByteStream):
    """A protocol of asyncio that is a stream of anyio."""

    def __init__(self, connected: Callable[[TcpStream], None] | None = None) -> None:
        self.transport: asyncio.Transport
        self._connected = connected
        self._chunks: deque[bytes] = deque()
        self._waiting = 0  # bytes in `_chunks`
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._ended = False
        self._broken: Exception | None = None
        self._closed = False
        self._receiving = anyio.ResourceGuard("receiving from")
        self._sending = anyio.ResourceGuard("sending to")

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; small packets go out at once, and `send` returns only when the operating system has everything."""
        self.transport = cast(asyncio.Transport, transport)
        with suppress(OSError):  # the connection may be gone already, which `connection_lost` will tell
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport.set_write_buffer_limits(0)
        self._writable.set()
        if self._connected is not None:
            self._connected(self)

    def data_received(self, data: bytes) -> None:
        """Keep a chunk; enough of them stop the reading."""
        self._chunks.append(data)
        self._waiting += len(data)
        self._readable.set()
        if self._waiting >= READ_AHEAD:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """Note that the peer ended its direction; ours stays open."""
        self._ended = True
        self._readable.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake everybody: the connection is gone."""
        self._broken = exc or ConnectionError("the connection is gone")
        self._readable.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """Let senders wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let senders go on."""
        self._writable.set()

    # What the link calls

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """The next 1 to `max_bytes` bytes; anyio's EndOfStream, BrokenResourceError or ClosedResourceError."""
        with self._receiving:
            if self._readable.is_set():
                await anyio.lowlevel.checkpoint()
            else:
                await self._readable.wait()
            if self._closed:
                raise anyio.ClosedResourceError
            if self._chunks:
                return self._take(max_bytes)
            if self._ended:
                raise anyio.EndOfStream
            raise anyio.BrokenResourceError from self._broken

    async def send(self, item: bytes) -> None:
        """Write everything; anyio's BrokenResourceError or ClosedResourceError."""
        with self._sending:
            await anyio.lowlevel.checkpoint_if_cancelled()
            await self._writable.wait()
            self._check()
            self.transport.write(item)
            await anyio.lowlevel.cancel_shielded_checkpoint()
            await self._writable.wait()
            self._check()

    async def send_eof(self) -> None:
        """End our direction."""
        self.transport.write_eof()

    async def aclose(self) -> None:
        """Close at once; idempotent."""
        self._closed = True
        self._chunks.clear()
        self._readable.set()
        self._writable.set()
        self.transport.abort()
        await anyio.lowlevel.checkpoint()

    def _take(self, max_bytes: int) -> bytes:
        chunk = self._chunks.popleft()
        if len(chunk) > max_bytes:
            self._chunks.appendleft(chunk[max_bytes:])
            chunk = chunk[:max_bytes]
        was_full = self._waiting >= READ_AHEAD
        self._waiting -= len(chunk)
        if was_full and self._waiting < READ_AHEAD and self._broken is None:
            self.transport.resume_reading()
        if not self._chunks and not self._ended and self._broken is None:
            self._readable.clear()
        return chunk

    def _check(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError
        if self._broken is not None:
            raise anyio.BrokenResourceError from self._broken
