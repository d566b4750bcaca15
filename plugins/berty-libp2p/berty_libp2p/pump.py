"""What joins one connection to whatever carries its bytes, and to a clock. This one: over any stream link."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import anyio

from berty_core.contracts.transport import Link
from berty_core.errors import LocalProtocolError

from .connection import Connection
from .multiaddr import Multiaddr
from .streams import Event, Streams
from .tcp import TcpLink, split_address

LOOK: Final = 1.0  # seconds after which clocks are looked at anew


class Pump(Protocol):
    """Runs one connection: bytes in, events out, and what is due in time."""

    @property
    def connection(self) -> Streams:
        """The connection that it runs."""

    @property
    def remote(self) -> Multiaddr | None:
        """The address at which we see the peer, where it can be written."""

    @property
    def local(self) -> Multiaddr | None:
        """Our own address on this path, where it has one."""

    async def run(self, take: Callable[[Event], None], taken: Callable[[], None]) -> None:
        """Hand events to `take`, and say `taken` after some, until the path ends with a BertyError or an OSError."""

    def flush(self) -> None:
        """Send what the connection has to send."""

    async def aclose(self) -> None:
        """Say goodbye where that is possible, and close at once."""


class StreamPump:
    """A connection over a stream link."""

    def __init__(self, link: Link, connection: Connection, clock: Callable[[], float]) -> None:
        self.connection = connection
        self._link = link
        self._clock = clock
        self._to_send = anyio.Event()

    @property
    def remote(self) -> Multiaddr | None:
        """The address at which we see the peer, where the link has one that can be written."""
        try:
            return Multiaddr.tcp(*split_address(self._link.remote.address))
        except (LocalProtocolError, ValueError):
            return None

    @property
    def local(self) -> Multiaddr | None:
        """Our own address on this link, where it is a TCP link."""
        return Multiaddr.tcp(*split_address(self._link.local.address)) if isinstance(self._link, TcpLink) else None

    async def run(self, take: Callable[[Event], None], taken: Callable[[], None]) -> None:
        """Run until the link ends; its errors and those of the connection pass."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write, taken)
            tasks.start_soon(self._tick, take)
            await self._read(take, taken)

    async def _read(self, take: Callable[[Event], None], taken: Callable[[], None]) -> None:
        while True:
            data = await self._link.receive()
            for event in self.connection.receive(data, self._clock()):
                take(event)
            taken()
            self.flush()

    async def _write(self, taken: Callable[[], None]) -> None:
        while True:
            self._to_send = anyio.Event()
            data = self.connection.take()
            if data:
                await self._link.send(data)
                taken()  # there is room again
                continue
            await self._to_send.wait()

    async def _tick(self, take: Callable[[Event], None]) -> None:
        while True:
            due = self.connection.timeout()
            delay = LOOK if due is None else min(max(due - self._clock(), 0.01), LOOK)
            await anyio.sleep(delay)
            for event in self.connection.wake(self._clock()):
                take(event)
            self.flush()

    def flush(self) -> None:
        """Let the writer look."""
        self._to_send.set()

    async def aclose(self) -> None:
        """Close the link."""
        await self._link.aclose()
