"""The suites that the author of a medium subclasses: for a whole transport, for links, for a bus.

Each check is a rule of `docs/reference/transport-contract.md`; which of them run follows from the traits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

from ..contracts.transport import Bus, Link, Traits
from .budget_rules import BudgetRules
from .bus_rules import BusRules, Member
from .conditions import BUS
from .datagram_rules import DatagramRules
from .dial_rules import DialRules
from .discovery_rules import DiscoveryRules
from .hosts import Device
from .interruption_rules import InterruptionRules
from .life_rules import LifeRules
from .rules import Condition
from .spec_rules import SpecRules
from .stream_rules import StreamRules
from .talk import Pair

__all__ = ["BUS", "BusSuite", "Condition", "DatagramLinkSuite", "LinkSuite", "TransportSuite"]


class TransportSuite(
    InterruptionRules, BudgetRules, DialRules, DiscoveryRules, LifeRules, SpecRules, DatagramRules, StreamRules
):
    """Checks of a transport. Subclass it as `class TestMine(TransportSuite)` with `spec`, and write `open_pair`."""


class _WithoutTransport:
    """What a suite has that checks one part alone: traits on the class, and no transport around it."""

    traits: Traits
    title: str = ""

    @classmethod
    def backends(cls) -> Sequence[str]:
        """Those that the traits declare."""
        return sorted(cls.traits.backends)

    @classmethod
    def traits_or_none(cls) -> Traits | None:
        """What the link or bus promises."""
        return cls.traits


class LinkSuite(_WithoutTransport, DatagramRules, StreamRules):
    """Checks of links alone, stream or datagrams as `traits` say. Write `open_links`."""

    contract: ClassVar[str] = "transport"

    def open_links(self) -> AbstractAsyncContextManager[tuple[Link, Link]]:
        """Give the two ends of one link, the initiator's first."""
        raise NotImplementedError

    @asynccontextmanager
    async def pair(self) -> AsyncIterator[Pair]:
        """The two ends."""
        async with self.open_links() as (near, far):
            yield Pair(near, far)


class DatagramLinkSuite(LinkSuite):
    """The same, by the name that one looks for."""


class BusSuite(_WithoutTransport, BusRules):
    """Checks of a bus alone. Write `open_buses`."""

    contract: ClassVar[str] = "transport"

    def open_buses(self) -> AbstractAsyncContextManager[Sequence[Bus]]:
        """Give one bus as two devices see it."""
        raise NotImplementedError

    @asynccontextmanager
    async def buses(self, count: int = 2) -> AsyncIterator[list[Member]]:
        """The buses, on one device."""
        device = Device()
        async with self.open_buses() as buses:
            yield [Member(bus, device) for bus in buses]
