"""Transports that are sound though odd pass whole: the kit asks for nothing that a trait does not promise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest

from berty_core.contracts.transport import Beacon, Endpoint, State, TransportHost
from berty_core.errors import LinkLost, LocalProtocolError
from berty_core.media import Sightings
from berty_core.testing.conformance import run_suite
from berty_core.testing.memory_datagrams import TRAITS as DATAGRAMS
from berty_core.testing.memory_datagrams import MemoryDatagrams
from berty_core.testing.memory_pipe import Pipe
from berty_core.testing.memory_transport import TRAITS, MemoryLink, MemoryNetwork, MemorySpec, MemoryTransport, join

from .bases import Base, Memory

SLOW = attrs.evolve(TRAITS, bitrate=20_000, latency=0.02)
RADIO = attrs.evolve(DATAGRAMS, mtu=20, bitrate=20_000, dial_timeout=1.0, lost_after=1.0)
CABLE = attrs.evolve(TRAITS, beacon_bytes=0, max_links=1)
MULTIPEER = attrs.evolve(TRAITS, dials=False, listens=False, autoconnects=True, max_links=7)


class OnNetwork(Base):
    """A network in memory whose transports declare `traits`."""

    promised = TRAITS
    patience = 1.0

    def __init_subclass__(cls) -> None:
        """Let the spec say the same."""
        cls.spec = MemorySpec(MemoryNetwork())
        cls.spec.traits = cls.promised

    def create(self, config: Any) -> Any:
        """Make one."""
        return MemoryTransport(self.network)


class VerySlow(OnNetwork):
    """Twenty kilobits a second."""

    promised = SLOW

    def __init__(self) -> None:
        self.network = MemoryNetwork(latency=0.002, chunk=500)
        self.network.traits = SLOW


class TinyMtu(OnNetwork):
    """Datagrams of twenty bytes, which get lost."""

    promised = RADIO

    def __init__(self) -> None:
        self.network = MemoryDatagrams("memory", traits=RADIO, loss=0.2, reorder=0.2, seed=3, tells_end=False)


class OneByteAtATime(OnNetwork):
    """A stream that hands over single bytes."""

    promised = attrs.evolve(TRAITS, bitrate=3_000)

    def __init__(self) -> None:
        self.network = MemoryNetwork(chunk=1)
        self.network.traits = self.promised


class SingleBackend(OnNetwork):
    """It runs on trio only."""

    promised = attrs.evolve(TRAITS, backends=frozenset({"trio"}))


class TwoDevices(OnNetwork):
    """There are two ends, and no more can be had."""

    @asynccontextmanager
    async def open_pair(self) -> AsyncIterator[tuple[Any, ...]]:
        """Two."""
        yield 1, 2

    def __init__(self) -> None:
        self.network = MemoryNetwork()


SingleBackend.__init__ = TwoDevices.__init__  # type: ignore[method-assign]


class Wire:
    """A cable with two plugs, at each of which a device may be there."""

    def __init__(self) -> None:
        self.plugged: list[Plugged] = []
        self.network = MemoryNetwork("cable")


class Plugged:
    """A transport over a cable: one peer, no beacon, one link at a time."""

    traits = CABLE

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.sightings = Sightings()
        self.host: TransportHost | None = None
        self.links: list[MemoryLink] = []

    async def run(self, host: TransportHost, *, task_status: Any) -> None:
        """Be plugged in."""
        if self.host is not None:
            raise LocalProtocolError("run before")
        self.host = host
        self.wire.plugged.append(self)
        for one in self.wire.plugged:
            for other in self.wire.plugged:
                if one is not other:
                    one.meet(other)
        host.state(State.ACTIVE)
        task_status.started()
        try:
            await anyio.sleep_forever()
        finally:
            self.wire.plugged.remove(self)
            for link in self.links:
                link.lose()
            self.sightings.end()
            for other in self.wire.plugged:
                other.sightings.lose_all()

    def meet(self, other: Plugged) -> None:
        """Somebody is at the other end."""
        self.sightings.found(Endpoint("memory", "the other end"), None)

    def discover(self) -> Any:
        """Who is there."""
        return self.sightings.listen()

    async def advertise(self, beacon: Beacon | None) -> None:
        """There is nothing to show it on."""
        await anyio.lowlevel.checkpoint()

    async def dial(self, endpoint: Endpoint) -> MemoryLink:
        """Open the one link."""
        await anyio.lowlevel.checkpoint()
        others = [other for other in self.wire.plugged if other is not self]
        if endpoint not in self.sightings.present or self not in self.wire.plugged or not others:
            raise LinkLost("nobody is there")
        if any(link.is_open for link in self.links):
            raise LinkLost("the cable is in use")
        return self.open(others[0])

    def open(self, other: Plugged) -> MemoryLink:
        """The two ends of a link."""
        there, back = Pipe(self.wire.network), Pipe(self.wire.network)
        link, accepted = join("memory", Endpoint("memory", "the other end"), there, back, self.traits)
        self.links.append(link)
        other.links.append(accepted)
        assert other.host is not None
        other.host.accept(accepted)
        return link


class OnePeer(TwoDevices):
    """A cable."""

    promised = CABLE

    def __init__(self) -> None:
        self.wire = Wire()

    def create(self, config: Any) -> Any:
        """A plug."""
        return Plugged(self.wire)


class ByItself(Plugged):
    """Connects as soon as somebody is there and both show themselves; nothing can be dialled."""

    traits = MULTIPEER
    shown: Beacon | None = None
    number = 0
    where: Endpoint | None = None

    def meet(self, other: Plugged) -> None:
        """Find whoever shows a beacon."""
        assert isinstance(other, ByItself)
        if other.shown is not None and other.where is not None:
            self.sightings.found(other.where, other.shown)

    async def advertise(self, beacon: Beacon | None) -> None:
        """Show a beacon, and connect to whoever shows one."""
        await anyio.lowlevel.checkpoint()
        others: list[Any] = [other for other in self.wire.plugged if other is not self]
        for other in others:
            if self.where is not None:
                other.sightings.lost(self.where)
        self.shown = beacon
        ByItself.number += 1
        self.where = Endpoint("memory", str(ByItself.number)) if beacon else None
        for other in others:
            other.meet(self)
            if self.shown and other.shown and not any(link.is_open for link in self.links):
                assert self.host is not None
                self.host.accept(self.open(other))

    dial = None  # type: ignore[assignment]


class ConnectsByItself(OnePeer):
    """As Multipeer does."""

    promised = MULTIPEER

    def create(self, config: Any) -> Any:
        """A plug."""
        return ByItself(self.wire)


ODD: list[type[Base]] = [
    VerySlow,
    TinyMtu,
    OneByteAtATime,
    SingleBackend,
    OnePeer,
    ConnectsByItself,
    Memory,
]


@pytest.mark.parametrize("suite", ODD, ids=lambda suite: suite.__name__)
def test_odd_ones_pass(suite: type[Base]) -> None:
    """Nothing is broken, on any backend that is declared, and something was checked."""
    for backend in suite.backends():
        report = run_suite(suite, backend=backend)
        assert report.is_green, report.text()
        assert report.count("not run") == 0


def test_autoconnects_needs_no_dial() -> None:
    """What connects by itself is checked by rule 78, and its links by all others."""
    report = run_suite(ConnectsByItself, backend="asyncio", numbers=range(60, 114))
    passed = {result.rule for result in report.results if result.status == "passed"}
    assert {70, 71, 78, 79, 90, 93, 110} <= passed
    assert "no dials, or no listens" in report.absences()
