"""A network in one process: its transports find each other at once, and its links can be cut, stalled and slowed.

Invariant: bytes arrive whole and in order or the link is lost; nothing happens by chance, and nothing by the clock
unless a test asks for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import attrs
from anyio.abc import ObjectReceiveStream, TaskStatus

from ..contracts.hookspecs import hookimpl
from ..contracts.transport import (
    Beacon,
    Endpoint,
    EndpointFound,
    EndpointLost,
    Probe,
    State,
    Traits,
    TransportHost,
    TransportSpec,
)
from ..errors import EndOfStream, LinkLost, LocalProtocolError
from ..media import Listener
from .memory_pipe import Direction, Pipe

TRAITS = Traits(
    stream=True,
    bitrate=1_000_000_000,
    latency=0.0,
    beacon_bytes=1000,
    dial_timeout=1.0,
    lost_after=1.0,
    backends=frozenset({"asyncio", "trio"}),
)

Discovered = EndpointFound | EndpointLost


class MemoryNetwork:
    """A medium that transports share; register it as a plugin (`plugins.hooks.register(network, network.name)`).

    `chunk` is the largest piece in which bytes arrive, `latency` (s) how long each piece takes.
    """

    traits: Traits = TRAITS
    tells_end = True  # whether an end that is closed or stopped is seen at the other one

    def __init__(
        self, name: str = "memory", *, chunk: int = 65536, latency: float = 0.0, traits: Traits | None = None
    ) -> None:
        self.name = name
        self.traits = traits or self.traits
        self.chunk = chunk
        self.latency = latency
        self.dialled: list[MemoryLink] = []  # the dialler's end of every link that was opened, oldest first
        self._transports: list[MemoryTransport] = []
        self._cut = self._is_silent = False
        self._mended = anyio.Event()
        self._addresses = 0

    @hookimpl
    def berty_transports(self) -> Sequence[TransportSpec]:
        """Give nodes a transport over this network."""
        return (MemorySpec(self),)

    def cut(self) -> None:
        """Take the medium away: all links are lost, and nobody is there any more."""
        self._cut = True
        for link in self.dialled:
            link.lose()
        for transport in self._transports:
            transport.forget_all()

    def stall(self) -> None:
        """Let nothing pass any more, and tell nobody: links stay open, and who is seen stays seen."""
        self._is_silent = True
        for link in self.live:
            link.stall()
            link.remote_end.stall()

    def mend(self) -> None:
        """Bring the medium back: those who show themselves are found again."""
        self._cut = self._is_silent = False
        self._mended.set()
        self._mended = anyio.Event()
        for link in self.live:
            link.resume()
            link.remote_end.resume()
        for transport in self._transports:
            transport.tell()

    @property
    def live(self) -> list[MemoryLink]:
        """The dialler's ends of the links that are open."""
        return [link for link in self.dialled if link.is_open]

    def create(self) -> MemoryTransport:
        """Make a transport on it that is not running yet."""
        return MemoryTransport(self)

    def _others(self, transport: MemoryTransport) -> list[MemoryTransport]:
        return [] if self._cut else [other for other in self._transports if other is not transport]

    def _open(self, endpoint: Endpoint) -> tuple[MemoryLink, MemoryLink]:
        """The two ends of a new link: the dialler's and the other."""
        return join(self.name, endpoint, Pipe(self), Pipe(self), self.traits)

    def _new_address(self) -> str:
        self._addresses += 1
        return str(self._addresses)

    def _find(self, endpoint: Endpoint) -> MemoryTransport | None:
        found = [transport for transport in self._transports if transport.endpoint == endpoint]
        return found[0] if found and not self._cut else None


def join(
    network: str, endpoint: Endpoint, there: Direction, back: Direction, traits: Traits
) -> tuple[MemoryLink, MemoryLink]:
    """Make the two ends of a link of its two directions: the dialler's and the other."""
    link = MemoryLink(endpoint, there, back, traits, initiator=True)
    who = Endpoint(network, f"who dialled {endpoint.address}")
    accepted = MemoryLink(who, back, there, traits, initiator=False)
    link.remote_end, accepted.remote_end = accepted, link
    return link, accepted


class MemoryLink:
    """One end of a link."""

    def __init__(
        self, remote: Endpoint, outgoing: Direction, incoming: Direction, traits: Traits = TRAITS, *, initiator: bool
    ) -> None:
        self.traits = traits
        self.remote = remote
        self.initiator = initiator
        self.remote_end = self  # until the other end is made
        self.outgoing = outgoing
        self.incoming = incoming

    def __repr__(self) -> str:
        return f"<MemoryLink {'to' if self.initiator else 'from'} {self.remote.address}>"

    @property
    def is_open(self) -> bool:
        """Whether bytes still pass both ways."""
        return self.outgoing.is_open and self.incoming.is_open

    async def send(self, data: bytes) -> None:
        """Hand over `data`; returns when there is room for more. LinkLost; MessageTooLarge on datagram links."""
        await self.outgoing.put(data)

    async def receive(self) -> bytes:
        """The next bytes, at least one. EndOfStream, LinkLost."""
        data = await self.incoming.get()
        if not data:
            raise EndOfStream("the other end closed the link")
        return data

    async def aclose(self) -> None:
        """Close at once; idempotent; whoever waits in `send` or `receive` gets LinkLost."""
        self.outgoing.end()
        self.incoming.abandon("the link was closed here")
        await anyio.lowlevel.checkpoint()

    def lose(self) -> None:
        """Break the path: what was under way arrives, and then both ends find it lost."""
        self.outgoing.lose()
        self.incoming.lose()

    def leave(self) -> None:
        """Take this end away; the other end finds that out by itself."""
        self.outgoing.end()
        self.incoming.abandon("the transport was stopped")

    def lose_after(self, count: int) -> None:
        """Break the path once this end has sent `count` more bytes (on a datagram link: datagrams)."""
        self.outgoing.lose_after(count, self.incoming.lose)

    def stall(self) -> None:
        """Deliver nothing more of what this end sends, until `resume`; it may send until the pipe is full."""
        self.outgoing.stall(True)

    def resume(self) -> None:
        """Deliver what was held back."""
        self.outgoing.stall(False)


class MemoryTransport:
    """One transport on a network in memory; run it once."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.endpoint: Endpoint | None = None
        self._network = network
        self._beacon: Beacon | None = None
        self._host: TransportHost | None = None
        self._running = False
        self._links: list[MemoryLink] = []
        self._listeners: list[Listener] = []

    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Be on the network until cancelled; LocalProtocolError when run a second time."""
        if self._host is not None:
            raise LocalProtocolError("this transport was run before: create another one")
        self._host, self._running = host, True
        self._network._transports.append(self)
        host.state(State.ACTIVE)
        task_status.started()
        try:
            await anyio.sleep_forever()
        finally:
            self._hide()
            self._running = False
            self._network._transports.remove(self)
            for link in self._links:
                link.lose() if self._network.tells_end else link.leave()
            for listener in self._listeners:
                listener.end()

    @asynccontextmanager
    async def discover(self) -> AsyncIterator[ObjectReceiveStream[Discovered]]:
        """Stream what is there: first what is known already, then each change; ends when the transport stops."""
        listener = Listener()
        for other in self._network._others(self):
            if other.endpoint is not None:
                listener.put(EndpointFound(other.endpoint, other._beacon))
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)
            listener.end()

    async def advertise(self, beacon: Beacon | None) -> None:
        """Show this beacon at a new address (None: be invisible)."""
        self._hide()
        self._beacon = beacon
        if beacon is not None:
            self.endpoint = Endpoint(self._network.name, self._network._new_address())
        self.tell()
        await anyio.lowlevel.checkpoint()

    async def dial(self, endpoint: Endpoint) -> MemoryLink:
        """Open a link to an endpoint that `discover` gave, or LinkLost at once."""
        await anyio.lowlevel.checkpoint()
        while self._network._is_silent:
            await self._network._mended.wait()
        other = self._network._find(endpoint)
        if other is None or other._host is None or not self._running:
            raise LinkLost(f"nobody is at {endpoint.address!r}")
        link, accepted = self._network._open(endpoint)
        self.keep(link)
        other.keep(accepted)
        self._network.dialled.append(link)
        other._host.accept(accepted)
        return link

    def keep(self, link: MemoryLink) -> None:
        """One end of a new link is this transport's."""
        self._links.append(link)

    def tell(self) -> None:
        """Let everybody find this transport, if it shows itself."""
        if self.endpoint is not None:
            for other in self._network._others(self):
                other._hear(EndpointFound(self.endpoint, self._beacon))

    def forget_all(self) -> None:
        """Lose sight of everybody."""
        for other in self._network._transports:
            if other is not self and other.endpoint is not None:
                self._hear(EndpointLost(other.endpoint))

    def _hide(self) -> None:
        endpoint, self.endpoint = self.endpoint, None
        if endpoint is not None:
            for other in self._network._others(self):
                other._hear(EndpointLost(endpoint))

    def _hear(self, event: Discovered) -> None:
        for listener in self._listeners:
            listener.put(event)


@attrs.frozen
class MemoryConfig:
    """There is nothing to configure."""


class MemorySpec:
    """How a node gets a transport over a network in memory."""

    api: tuple[int, int] = (1, 0)
    config: type = MemoryConfig
    platforms: frozenset[str] = frozenset()
    tested_on: tuple[str, ...] = ()

    def __init__(self, network: MemoryNetwork) -> None:
        self.name = network.name
        self.traits = network.traits
        self._network = network

    def probe(self, config: object) -> Probe:
        """It can run everywhere."""
        return Probe(available=True)

    def create(self, config: object) -> MemoryTransport:
        """Make a transport that is not running yet."""
        return self._network.create()
