"""Suites over sound transports, in memory and over sockets, that a fault can be put into."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import attrs

from berty_core.contracts.transport import Transport
from berty_core.testing.memory_bus import MemoryBusNetwork, MemoryBusSpec
from berty_core.testing.memory_datagrams import TRAITS as DATAGRAMS
from berty_core.testing.memory_datagrams import MemoryDatagrams
from berty_core.testing.memory_transport import MemoryNetwork, MemorySpec
from berty_core.testing.transport_suite import TransportSuite

from .loopback import TCP, UDP, Ledger, LoopbackSpec


class Base(TransportSuite):
    """Three devices on one medium; `fault` wraps each transport."""

    fault: ClassVar[Any] = None
    patience = 0.15
    network: Any = None

    @asynccontextmanager
    async def open_pair(self) -> AsyncIterator[tuple[Any, ...]]:
        """Three devices that are configured alike."""
        config = self.spec.config()
        yield config, config, config

    def create(self, config: Any) -> Transport:
        """A sound transport, or one with a fault."""
        made = (self.spec if self.network is None else type(self.spec)(self.network)).create(config)
        transport: Transport = made if self.fault is None else type(self).fault(made)
        return transport


class Memory(Base):
    """Streams in memory."""

    spec = MemorySpec(MemoryNetwork())

    def __init__(self) -> None:
        self.network = MemoryNetwork()


class Tcp(Base):
    """Streams over TCP."""

    spec = LoopbackSpec(TCP)
    level = "emulated"


class Datagrams(Base):
    """Datagram links in memory that are reliable."""

    reliable = attrs.evolve(DATAGRAMS, reliable=True, ordered=True, dial_timeout=1.0, lost_after=1.0)
    spec = MemorySpec(MemoryDatagrams(traits=reliable))

    def __init__(self) -> None:
        self.network = MemoryDatagrams(traits=self.reliable)


class Udp(Base):
    """Datagram links and a bus over UDP."""

    spec = LoopbackSpec(UDP)
    level = "emulated"


class KeptLedger(Ledger):
    """A ledger in the settings of a device."""

    def __init__(self, host: Any) -> None:
        self.host = host
        super().__init__(host._device.settings.get("ledger"))

    def take(self, size: int, now: float) -> bool:
        """Book it if it fits."""
        if self.airtime(size) > self.left(now):
            return False
        self.spend(size, now)
        return True

    def spend(self, size: int, now: float) -> bytes:
        """Book it, and keep that."""
        kept = super().spend(size, now)
        self.host._device.settings["ledger"] = kept
        return kept


class MemoryBus(Base):
    """A bus in memory with topics and a budget."""

    made = MemoryBusNetwork(topics=True, budget=KeptLedger)
    spec = MemoryBusSpec(made)

    def __init__(self) -> None:
        self.network = MemoryBusNetwork(topics=True, budget=KeptLedger)


class FreeBus(Base):
    """A bus in memory without a budget."""

    spec = MemoryBusSpec(MemoryBusNetwork())

    def __init__(self) -> None:
        self.network = MemoryBusNetwork()


class FreeUdp(Base):
    """UDP without a budget."""

    spec = LoopbackSpec(attrs.evolve(UDP, budgeted=False))
