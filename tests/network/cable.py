"""A second wire for devices in namespaces: plain TCP between two addresses that both know, which shows nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import attrs
from anyio.abc import ObjectReceiveStream, SocketStream, TaskStatus
from berty_mdns.link import TcpLink

from berty_core.contracts.hookspecs import hookimpl
from berty_core.contracts.transport import (
    Endpoint,
    EndpointFound,
    EndpointLost,
    Energy,
    Probe,
    State,
    Traits,
    TransportHost,
    TransportSpec,
)
from berty_core.errors import LinkLost

NAME = "cable"
PORT = 4717
TRAITS = Traits(stream=True, bitrate=10_000_000, latency=0.02, energy=Energy.MEDIUM, dial_timeout=5.0)


class CableLink(TcpLink):
    """A link with the traits of the cable."""

    traits = TRAITS


class CableTransport:
    """Listens at one address, and reports another one as an endpoint."""

    def __init__(self, here: str, there: str) -> None:
        self._here, self._there = here, there
        self._links: list[CableLink] = []

    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled."""
        listener = await anyio.create_tcp_listener(local_host=self._here, local_port=PORT)
        async with listener:
            host.state(State.ACTIVE)
            task_status.started()
            try:
                await listener.serve(partial(self._take, host))
            finally:
                with anyio.CancelScope(shield=True):
                    for link in list(self._links):
                        await link.aclose()

    async def _take(self, host: TransportHost, stream: SocketStream) -> None:
        host.accept(self._link(stream, "who dialled", initiator=False))

    def _link(self, stream: SocketStream, address: str, *, initiator: bool) -> CableLink:
        link = CableLink(stream, Endpoint(NAME, address), initiator=initiator, closed=self._links.remove)  # type: ignore[arg-type]
        self._links.append(link)
        return link

    @asynccontextmanager
    async def discover(self) -> AsyncIterator[ObjectReceiveStream[EndpointFound | EndpointLost]]:
        """The other end, of which nothing is known."""
        send, receive = anyio.create_memory_object_stream[Any](1)
        with send, receive:
            send.send_nowait(EndpointFound(Endpoint(NAME, self._there), None))
            yield receive

    async def advertise(self, beacon: object) -> None:
        """Nothing is shown."""

    async def dial(self, endpoint: Endpoint) -> CableLink:
        """Connect."""
        try:
            stream = await anyio.connect_tcp(endpoint.address, PORT)
        except OSError as error:
            raise LinkLost(str(error)) from error
        return self._link(stream, endpoint.address, initiator=True)


@attrs.frozen
class CableConfig:
    """There is nothing to configure."""


class CablePlugin:
    """The plugin, and its one transport."""

    name = NAME
    api = (1, 0)
    traits = TRAITS
    config: type = CableConfig
    platforms: frozenset[str] = frozenset()
    tested_on: tuple[str, ...] = ()

    def __init__(self, here: str, there: str) -> None:
        self._here, self._there = here, there

    @hookimpl
    def berty_transports(self) -> Sequence[TransportSpec]:
        """Give the cable."""
        return (self,)

    def probe(self, config: object) -> Probe:
        """It can run."""
        return Probe(available=True)

    def create(self, config: object) -> CableTransport:
        """Make one."""
        return CableTransport(self._here, self._there)
