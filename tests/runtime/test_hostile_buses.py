"""Whatever a driver does with its bus, it is named, it is started again within limits, and the node goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from berty_core.contracts.bus import Datagram, Endpoint
from berty_core.protocol.airtime import AirtimeLedger
from berty_core.runtime.bus import groups as bus_groups
from berty_core.runtime.bus import on_bus
from berty_core.runtime.bus.groups import MAX_HEARD
from berty_core.runtime.bus.on_bus import OnBus
from berty_core.runtime.connectivity.manager import Connectivity
from berty_core.runtime.drivers import guarded_bus, severable, supervision
from berty_core.runtime.drivers.running import RunningTransport
from berty_core.runtime.node import Node
from berty_core.testing.memory_transport import MemoryNetwork

from . import hostile_buses as evil
from .nodes import becomes, befriend, node_on, until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes a moment."""
    for module, name, value in [
        (on_bus, "BUS_LIMIT", 0.2),
        (on_bus, "GONE_FOR", 0.02),
        (bus_groups, "GONE_FOR", 0.02),
        (guarded_bus, "PUBLISH_LIMIT", 0.3),
        (guarded_bus, "PUBLISH_UNITS", 1),
        (guarded_bus, "SUBSCRIBE_LIMIT", 0.2),
        (guarded_bus, "ENDED_GRACE", 0.05),
        (severable, "STOP_LIMIT", 0.3),
        (supervision, "RESTARTS", (0.01, 0.02)),
    ]:
        monkeypatch.setattr(module, name, value)


@attrs.frozen
class Scene:
    """Ann, who has the hostile bus beside a sound transport, and Bob, who has the sound one."""

    ann: Node
    bob: Node
    network: evil.EvilBusNetwork

    @property
    def connectivity(self) -> Connectivity:
        """Ann's."""
        assert self.ann.connectivity is not None
        return self.ann.connectivity

    @property
    def running(self) -> RunningTransport:
        """The hostile one."""
        (found,) = [one for one in self.connectivity.transports if one.name == evil.NAME]
        return found

    async def is_named(self, words: str) -> None:
        """Wait until Ann says this about the driver, by its name."""

        async def named() -> bool:
            told = [one.words for one in self.connectivity.decisions if one.transport == evil.NAME]
            return any(words in one and evil.NAME in one for one in told)

        await until(named, f"{evil.NAME}: {words}")

    async def is_started_again(self) -> None:
        """Wait until another one was made, and then left alone for long."""

        async def rests() -> bool:
            at = self.running.retry_at
            return len(self.network.made) == 3 and at is not None and at - self.running.monotonic() > 60

        await until(rests, "three starts, then a rest")

    async def goes_on(self) -> None:
        """Ann and Bob talk over the sound transport."""
        cid = await self.ann.send("Bob", "still here")
        await becomes(self.ann, "Bob", cid, "acknowledged")


@asynccontextmanager
async def scene(directory: Path, kind: type[evil.EvilBusTransport], **settings: Any) -> AsyncIterator[Scene]:
    """Ann with a hostile bus, and her contact Bob."""
    sound, network = MemoryNetwork(), evil.EvilBusNetwork(kind, **settings)
    async with node_on(sound, directory / "Bob") as bob, node_on(sound, directory / "Ann", network) as ann:
        await befriend(bob, ann)
        yield Scene(ann, bob, network)


BROKEN: dict[str, tuple[type[evil.EvilBusTransport], str]] = {
    "bus() never returns": (evil.NeverGivesABus, "bus() did not end within 0.2 s"),
    "bus() raises": (evil.RaisesForABus, "bus() raised KeyError: 'radio'"),
    "bus() gives nothing": (evil.GivesNoBus, "it gave a bus without publish()"),
    "a bus without traits": (evil.GivesAStream, "it gave a bus without traits"),
    "publish() never returns": (evil.with_bus(evil.NeverPublishes), "publish() did not end within 0.3 s"),
    "publish() cannot be stopped": (evil.with_bus(evil.PublishesForEver), "publish() did not end within 0.3 s"),
    "publish() raises": (evil.with_bus(evil.RaisesAtPublish), "publish() raised LookupError: frequency"),
    "publish() is no coroutine": (evil.with_bus(evil.PublishesWithoutAwait), "publish() raised TypeError"),
    "publish() refuses its mtu": (evil.with_bus(evil.LiesAboutItsMtu), "its limit is 233"),
    "publish() tells of a budget": (evil.with_bus(evil.LiesAboutABudget), "says that a budget is spent"),
    "subscribe() never begins": (evil.with_bus(evil.NeverSubscribes), "subscribe() did not begin within 0.2 s"),
    "subscribe() raises": (evil.with_bus(evil.RaisesAtSubscribe), "subscribe() raised OSError: no socket"),
    "subscribe() gives nothing": (evil.with_bus(evil.SubscribesToNothing), "subscribe() raised"),
    "a subscription ends": (evil.with_bus(evil.EndsItsSubscription), "subscription to its bus ended by itself"),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_buses_that_do_not_work(case: str, tmp_path: Path) -> None:
    """What bus(), publish() and subscribe() do wrong is named."""
    kind, words = BROKEN[case]
    async with scene(tmp_path, kind) as the:
        await the.is_named(words)
        await the.goes_on()


@pytest.mark.parametrize("case", ["bus() never returns", "publish() never returns", "a subscription ends"])
async def test_such_a_driver_is_started_again(case: str, tmp_path: Path) -> None:
    """Another one is made each time, after rests that grow to an hour."""
    async with scene(tmp_path, BROKEN[case][0]) as the:
        await the.is_started_again()
        assert BROKEN[case][1] in the.running.reasons[0]
        await the.goes_on()


async def test_a_budget_that_raises(tmp_path: Path) -> None:
    """It is named, and after twenty times the driver is started again."""
    budget = lambda _: AirtimeLedger(2000.0, 2.0, float)  # noqa: E731
    async with scene(tmp_path, evil.HasABadBudget, budget=budget) as the:
        await the.is_named("budget().allowed_at() raised ZeroDivisionError")
        await the.goes_on()


async def test_one_that_does_not_stop(tmp_path: Path) -> None:
    """A driver with a bus that ignores its end is left behind, and named."""
    async with scene(tmp_path, evil.SwallowsCancellation) as the:

        async def speaks() -> bool:
            return bool(the.network.heard)

        await until(speaks)
        the.running.scope.cancel()
        await the.is_named("it did not stop within 0.3 s and was left behind")
        await the.goes_on()
        start = anyio.current_time()
    assert anyio.current_time() - start < 5


HANDED: dict[str, tuple[object, str]] = {
    "a text": ("hello", "its bus gave str in place of a datagram"),
    "bare bytes": (b"hello", "its bus gave bytes in place of a datagram"),
    "no bytes": (Datagram(None), "its bus gave a datagram of NoneType in place of bytes"),  # type: ignore[arg-type]
    "empty": (Datagram(b""), "its bus gave an empty datagram"),
    "too long": (Datagram(bytes(234)), "its bus gave 234 bytes at once, its limit is 233"),
    "a source elsewhere": (Datagram(bytes(99), Endpoint("memory", "1")), "of another transport ('memory')"),
    "a source that is none": (Datagram(bytes(99), "1"), "gave str as an endpoint"),  # type: ignore[arg-type]
    "a huge source": (Datagram(bytes(99), Endpoint("evil", "1" * 10**6)), "an address of 1000000 characters"),
}


@pytest.mark.parametrize("case", HANDED)
async def test_what_is_handed_up(case: str, tmp_path: Path) -> None:
    """What is no datagram is dropped and named, and a driver that goes on with it is started again."""
    handed, words = HANDED[case]
    async with scene(tmp_path, evil.handing_up(*[handed] * 50)) as the:
        await the.is_named(words)
        await the.is_named("20 faults within a minute")
        await the.goes_on()


async def test_a_flood(tmp_path: Path) -> None:
    """A bus that never stops handing up holds up nobody, takes bounded memory, and is named."""
    async with scene(tmp_path, evil.handing_up(Datagram(bytes(99)), endlessly=True)) as the:
        await the.is_named("its bus hands up more than 2000 datagrams a second")
        await the.goes_on()
        transport: object = the.running.transport
        assert isinstance(transport, OnBus) and transport.groups is not None
        assert len(transport.groups._heard) <= MAX_HEARD
        assert not the.running.failures


async def test_a_medium_that_comes_later(tmp_path: Path) -> None:
    """A bus that is not there at first is no fault: it is used as soon as it is."""
    async with scene(tmp_path, evil.IsThereLater) as the:

        async def speaks() -> bool:
            return bool(the.network.heard)

        await until(speaks)
        assert len(the.network.made) == 1
        assert not [one for one in the.connectivity.decisions if one.transport == evil.NAME]
