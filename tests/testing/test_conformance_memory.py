"""The media in memory keep the contract of transports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs

from berty_core.contracts.transport import Endpoint, Link, Transport
from berty_core.testing.memory_bus import (
    MemoryBusConfig,
    MemoryBusNetwork,
    MemoryBusSpec,
    MemoryBusTransport,
    Weather,
)
from berty_core.testing.memory_datagrams import TRAITS as POOR
from berty_core.testing.memory_datagrams import MemoryDatagrams
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
            MemoryLink(Endpoint("memory", "1"), there, back, TRAITS, initiator=True),
            MemoryLink(Endpoint("memory", "2"), back, there, TRAITS, initiator=False),
        )


class TestMemoryDatagrams(TransportSuite):
    """Datagram links in memory, which lose, repeat and reorder."""

    spec = MemorySpec(MemoryDatagrams())

    def __init__(self) -> None:
        self.network = MemoryDatagrams(loss=0.1, duplication=0.1, reorder=0.1, seed=7)

    @asynccontextmanager
    async def open_pair(self) -> AsyncIterator[tuple[Any, ...]]:
        """Two devices on one network."""
        yield MemoryConfig(), MemoryConfig()

    def create(self, config: Any) -> Transport:
        """The medium is the network, not the configuration."""
        return MemoryTransport(self.network)


class TestMeteredMemoryDatagrams(TestMemoryDatagrams):
    """Datagram links in memory on which airtime is limited."""

    spec = MemorySpec(MemoryDatagrams("metered", budget=(60.0, 3600.0)))
    title = "memory datagrams with a budget"

    def __init__(self) -> None:
        self.network = MemoryDatagrams("metered", budget=(60.0, 3600.0))

    def create(self, config: Any) -> Transport:
        """The medium is the network, not the configuration."""
        return self.network.create()


class TestMemoryBus(TransportSuite):
    """A bus in memory, which loses and repeats."""

    spec = MemoryBusSpec(MemoryBusNetwork(weather=Weather(loss=0.1)))

    def __init__(self) -> None:
        self.network = MemoryBusNetwork(weather=Weather(loss=0.1, duplicate=0.1, reorder=0.1))

    @asynccontextmanager
    async def open_pair(self) -> AsyncIterator[tuple[Any, ...]]:
        """Three devices in range of each other."""
        yield MemoryBusConfig(), MemoryBusConfig(), MemoryBusConfig()

    def create(self, config: Any) -> Transport:
        """The medium is the network, not the configuration."""
        return MemoryBusTransport(self.network)


class TestGoodMemoryDatagrams(TestMemoryDatagrams):
    """Datagram links in memory on which everything arrives, once and in order, and says so."""

    spec = MemorySpec(MemoryDatagrams("good", traits=attrs.evolve(POOR, reliable=True, ordered=True)))
    title = "memory datagrams that all arrive"

    def __init__(self) -> None:
        self.network = MemoryDatagrams("good", traits=self.spec.traits)
