"""The media in memory keep the contract of transports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs

from berty_core.contracts.transport import Endpoint, Link, Transport
from berty_core.testing.memory_pipe import Pipe
from berty_core.testing.memory_transport import (
    TRAITS,
    MemoryConfig,
    MemoryLink,
    MemoryNetwork,
    MemorySpec,
    MemoryTransport,
)
from berty_core.testing.transport_suite import LinkSuite, TransportSuite


class TestMemory(TransportSuite):
    """Streams in memory."""

    spec = MemorySpec(MemoryNetwork())

    def __init__(self) -> None:
        self.network = MemoryNetwork()

    @asynccontextmanager
    async def open_pair(self) -> AsyncIterator[tuple[Any, ...]]:
        """Two devices on one network."""
        yield MemoryConfig(), MemoryConfig(), MemoryConfig()

    def create(self, config: Any) -> Transport:
        """The medium is the network, not the configuration."""
        return MemoryTransport(self.network)

    async def cut(self) -> None:
        """Cut it."""
        self.network.cut()

    async def mend(self) -> None:
        """Mend it."""
        self.network.mend()


class TestMemoryLinks(LinkSuite):
    """Links alone, a few bytes at a time."""

    traits = attrs.evolve(TRAITS, bitrate=10_000)
    title = "memory links"

    @asynccontextmanager
    async def open_links(self) -> AsyncIterator[tuple[Link, Link]]:
        """Two ends without transports."""
        network = MemoryNetwork(chunk=1)
        there, back = Pipe(network), Pipe(network)
        yield (
            MemoryLink(Endpoint("memory", "1"), there, back, initiator=True),
            MemoryLink(Endpoint("memory", "2"), back, there, initiator=False),
        )
