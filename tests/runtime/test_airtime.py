"""What may be sent is limited: links and bus share it, wait for it, and survive that."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from berty_core.contracts.transport import Endpoint, Link, Priority
from berty_core.errors import BudgetSpent, LinkLost
from berty_core.protocol.airtime import AirtimeLedger
from berty_core.protocol.ranking import Policy
from berty_core.runtime.drivers.airtime_queue import AirtimeQueue, Turn
from berty_core.runtime.node import Node
from berty_core.runtime.sessions.datagram_stream import DatagramStream, as_stream
from berty_core.runtime.status import transports
from berty_core.testing.memory_bus import MemoryBusNetwork
from berty_core.testing.memory_datagrams import TRAITS, MemoryDatagrams
from berty_core.testing.memory_transport import MemoryTransport

from .nodes import befriend, group_of, has, node_on, nodes_on, said, until

pytestmark = pytest.mark.anyio
METERED = attrs.evolve(TRAITS, budgeted=True)
SAFE = attrs.evolve(METERED, reliable=True, ordered=True)
LIMIT, WINDOW = 1200, 100.0  # bytes, seconds


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


class Person:
    """A quota that a person sets."""

    spent = ""
    until = 0.0

    def may_pass(self) -> str:
        """The words."""
        return self.spent

    def free_at(self) -> float:
        """The time."""
        return self.until

    def passed(self, sent: int, received: int) -> None:
        """Not counted here."""


class Radio:
    """One transport of a device whose time a test moves, with links to others that nothing limits."""

    def __init__(self, limit: float = LIMIT, traits: Any = METERED) -> None:
        self.time = 1000.0
        self.monotonic: Callable[[], float] = lambda: self.time
        self.entropy: Callable[[int], bytes] = os.urandom
        self.ledger = AirtimeLedger(limit, WINDOW, float, monotonic=self.monotonic)
        self.medium = MemoryDatagrams(traits=traits)
        self.medium.traits = traits
        self.told: list[str] = []
        self.refusals = 0  # of what the budget allows
        self.quota = Person()
        self.airtime = AirtimeQueue(
            mtu=233, now=self.monotonic, budget=lambda: self.ledger, quota=self.quota, tell=self.told.append
        )

    @asynccontextmanager
    async def links(self, count: int = 1) -> AsyncIterator[list[tuple[DatagramStream, Link]]]:
        """Links from it to others."""
        async with anyio.create_task_group() as tasks:
            ends = []
            for number in range(count):
                one, other = self.medium._open(Endpoint("datagrams", str(number)))
                one.outgoing.charge = self._charge  # type: ignore[attr-defined]
                stream = as_stream(one, self, tasks, self.airtime)
                assert isinstance(stream, DatagramStream)
                ends.append((stream, as_stream(other, self, tasks)))
            yield ends
            tasks.cancel_scope.cancel()

    async def _charge(self, size: int) -> None:
        if self.refusals:
            self.refusals -= 1
            raise BudgetSpent("not now")
        if not self.ledger.take(size, self.time):
            raise BudgetSpent("the airtime is used up")

    async def let_pass(self, seconds: float) -> None:
        """Let time go by."""
        await anyio.wait_all_tasks_blocked()
        self.time += seconds
        self.airtime.serve()
        await anyio.wait_all_tasks_blocked()


class Reader:
    """Reads what comes, and counts it."""

    def __init__(self, link: Link) -> None:
        self.got = b""
        self.lost = ""
        self._link = link

    async def run(self) -> None:
        """Until the link ends."""
        try:
            while True:
                self.got += await self._link.receive()
        except LinkLost as error:
            self.lost = str(error)


@pytest.mark.parametrize("traits", [METERED, SAFE], ids=["acknowledged", "safe"])
async def test_a_link_waits_for_airtime_and_nothing_else_happens(traits: Any) -> None:
    """What does not fit into a window goes in the next ones: nothing is repeated meanwhile, and nobody gives up."""
    radio, content = Radio(traits=traits), os.urandom(9000)
    async with radio.links() as [(near, far)], anyio.create_task_group() as tasks:
        reader = Reader(far)
        tasks.start_soon(reader.run)
        tasks.start_soon(near.send, content)
        await radio.let_pass(0.0)
        windows = 0
        while len(reader.got) < len(content):
            assert windows < 12 and not reader.lost
            before = len(reader.got)
            await radio.let_pass(WINDOW)
            assert len(reader.got) - before <= LIMIT
            windows += 1
        assert reader.got == content and windows >= 7
        if traits is METERED:
            sending = near._machine.sending  # type: ignore[union-attr]
            assert sending.repeated == 0
            assert sending.round_trip.timeout < 1.0  # the other end answered at once
        tasks.cancel_scope.cancel()


async def test_a_driver_that_refuses_is_asked_again() -> None:
    """A budget that is spent although it said otherwise is no loss of the link."""
    radio = Radio(limit=10**6)
    radio.refusals = 5
    async with radio.links() as [(near, far)], anyio.create_task_group() as tasks:
        reader = Reader(far)
        tasks.start_soon(reader.run)
        tasks.start_soon(near.send, b"it comes")
        for _ in range(8):
            await radio.let_pass(5.0)
        assert radio.refusals == 0
        assert reader.got == b"it comes"
        tasks.cancel_scope.cancel()


async def test_a_text_goes_before_history_and_links_share() -> None:
    """Long transfers get the same, and what somebody says on another link does not wait for them."""
    radio = Radio()
    async with radio.links(9) as ends, anyio.create_task_group() as tasks:
        readers = [Reader(far) for _, far in ends]
        for reader in readers:
            tasks.start_soon(reader.run)
        await radio.let_pass(0.0)
        for near, _ in ends[:8]:
            tasks.start_soon(near.send, bytes(100_000))
        for _ in range(20):
            await radio.let_pass(WINDOW)
        sizes = [len(reader.got) for reader in readers[:8]]
        assert sum(sizes) > 15 * (LIMIT - 233)
        assert max(sizes) - min(sizes) <= 3 * 233
        for near, _ in ends[:8]:
            assert near._gone > 0
            near._gone = 2**20  # as if it went on for long already
        for _ in range(3):
            await radio.let_pass(WINDOW)
        tasks.start_soon(ends[8][0].send, b"hello")
        await radio.let_pass(WINDOW)
        assert readers[8].got == b"hello"
        tasks.cancel_scope.cancel()


async def test_who_gives_up_leaves_no_turn_behind() -> None:
    """A link that is cancelled while it waits for airtime does not keep others from it."""
    radio = Radio()
    async with radio.links(2) as ends, anyio.create_task_group() as tasks:
        reader = Reader(ends[1][1])
        tasks.start_soon(reader.run)
        tasks.start_soon(ends[0][0].send, bytes(9000))
        await radio.let_pass(0.0)
        tasks.start_soon(ends[1][0].send, b"hello")
        await radio.let_pass(0.0)
        assert len(reader.got) == 0
        assert radio.airtime.waits_until is not None
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ends[0][0].aclose()
        for _ in range(3):
            await radio.let_pass(WINDOW)
        assert reader.got == b"hello"
        assert radio.airtime.waits_until is None and radio.airtime._queue.size == 0
        tasks.cancel_scope.cancel()


async def test_long_waits_are_told() -> None:
    """A wait has words, with the time; a person is told once, not for each datagram."""
    radio = Radio()
    async with radio.links() as [(near, _)]:
        await near.send(bytes(2000))
        await radio.let_pass(0.0)
        at = radio.airtime.waits_until
        assert at is not None and radio.time < at <= radio.time + WINDOW
        words = f"waits until {time.strftime('%H:%M:%S', time.localtime(at))} for airtime"
        assert radio.airtime.words() == words
        await radio.let_pass(1.0)
        assert radio.told == [words]


async def test_a_quota_ends_links_and_makes_the_bus_wait() -> None:
    """Links leave a transport whose quota is used up for another one; groups on a bus go on when there is more."""
    radio = Radio()
    changed: list[Turn] = []
    radio.quota.spent, radio.quota.until = "the quota is used up", 2000.0

    async def never() -> None:
        raise AssertionError

    with pytest.raises(LinkLost, match="quota"):
        await radio.airtime.send(never, 20, Priority.INTERACTIVE, "link")
    radio.airtime.ask(Turn(20, Priority.INTERACTIVE, "bus", changed.append))
    await radio.let_pass(500.0)
    assert not changed and "the quota is used up" in radio.airtime.words()
    radio.time, radio.quota.spent = 2000.0, ""
    radio.airtime.serve()
    assert [turn.may_go for turn in changed] == [True]


async def test_a_restart_gives_no_airtime_back(tmp_path: Path) -> None:
    """Two runs over one home stay within one window; the second one says what it waits for."""
    limit = 30_000
    seconds = 8 * limit / TRAITS.bitrate
    medium = MemoryDatagrams(budget=(seconds, 3600.0), refuses_more=7)
    ours: list[object] = []

    async def waits(node: Node) -> None:
        async def so() -> bool:
            return bool(await said(node, "waits until"))

        await until(so, "it waits for airtime")

    async with node_on(medium, tmp_path / "Bob") as bob:
        async with node_on(medium, tmp_path / "Ann") as ann:
            await befriend(bob, ann)
            assert ann.connectivity is not None
            ours.append(ann.connectivity.transports[0].transport)
            for _ in range(4):
                await ann.send("Bob", "x" * 10_000)
            await waits(ann)
        used = sum(size for who, _, size in medium.sent if who in ours)
        assert limit - 233 < used <= limit
        async with node_on(medium, tmp_path / "Ann") as ann:
            assert ann.connectivity is not None
            await waits(ann)
            ours.append(ann.connectivity.transports[0].transport)
            (view,) = transports(ann)
            assert view["state"] == "active" and "for airtime" in view["reasons"][0]
        assert sum(size for who, _, size in medium.sent if who in ours) <= limit


async def test_a_quota_on_a_bus(tmp_path: Path) -> None:
    """What groups say on a bus counts; above the quota nothing more is said, also after a restart."""
    bus = MemoryBusNetwork()
    policies = {"bus": Policy(messages_per_day=60)}
    async with node_on(bus, tmp_path / "Bob") as bob:
        async with node_on(bus, tmp_path / "Ann", transports=policies) as ann:
            await group_of(ann, bob)
            assert ann.connectivity is not None
            running = ann.connectivity.transports[0]
            for number in range(60):
                await ann.send("group", str(number))

            async def is_spent() -> bool:
                return bool(running.usage.spent()) and bool(running.waits)

            await until(is_spent, "the quota is used up")
            assert running.usage.view()["messages"]["used"] == 60
        async with node_on(bus, tmp_path / "Ann", transports=policies) as ann:
            assert ann.connectivity is not None
            running = ann.connectivity.transports[0]
            hub = ann.hub

            async def speaks() -> bool:
                return bool(hub.buses)

            await until(speaks, "the group is on the bus")
            await ann.send("group", "too much")
            await until(is_spent, "it is used up still")
            assert running.usage.view()["messages"]["used"] == 60


async def test_two_devices_on_little_airtime(tmp_path: Path) -> None:
    """Where each may send 20 kB in a second they become contacts and get a long text, within what is allowed."""
    limit = 20_000
    medium = MemoryDatagrams(budget=(8 * limit / TRAITS.bitrate, 1.0), refuses_more=11)
    async with nodes_on(medium, tmp_path, "Ann", "Bob") as (ann, bob):
        await befriend(ann, bob)
        text = "long " * 12_000
        await ann.send("Bob", text)
        await has(bob, "Ann", text)
        assert ann.connectivity is not None
        mine = ann.connectivity.transports[0].transport
    sent = [(at, size) for who, at, size in medium.sent if who is mine]
    assert sum(size for _, size in sent) > 60_000
    for at, _ in sent:
        assert sum(size for when, size in sent if at <= when < at + 0.99) <= limit


class Nonsense:
    """A budget that nobody can make sense of."""

    limit, window = "much", float("nan")

    def __init__(self) -> None:
        self.broken = 3

    def airtime(self, size: int) -> float:
        """Less than nothing."""
        return -1.0

    def left(self, now: float) -> float:
        """Not a number."""
        return float("nan")

    def allowed_at(self, size: int, now: float) -> float:
        """It raises, and then says that it was long ago."""
        if self.broken:
            self.broken -= 1
            raise ZeroDivisionError
        return -5.0


class Broken(MemoryDatagrams):
    """A medium whose drivers say nonsense of their budget."""

    def create(self) -> MemoryTransport:
        """One with such a budget."""
        transport, budget = super().create(), Nonsense()
        transport.budget = lambda: budget  # type: ignore[attr-defined]
        return transport


async def test_a_driver_that_talks_nonsense_of_its_budget(tmp_path: Path) -> None:
    """It is named, and what it takes still goes."""
    async with nodes_on(Broken(budget=(60.0, 3600.0)), tmp_path, "Ann", "Bob") as (ann, bob):
        await befriend(ann, bob)
        await ann.send("Bob", "hello")
        await has(bob, "Ann", "hello")
        assert await said(ann, "budget().allowed_at() raised ZeroDivisionError")
        assert await said(ann, "budget().limit raised ValueError")
