"""Whatever a driver does, it is named, it is started again within limits, and the other transports go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from berty_core.contracts.transport import Beacon, Endpoint, EndpointFound, EndpointLost
from berty_core.errors import LinkLost
from berty_core.runtime.connectivity.manager import Connectivity
from berty_core.runtime.decisions import Kind
from berty_core.runtime.drivers import running, severable, supervision, transport_host
from berty_core.runtime.drivers.guarded_link import GuardedLink
from berty_core.runtime.drivers.supervision import LAST_RESORT, rest_after
from berty_core.runtime.node import Node
from berty_core.testing.memory_transport import TRAITS, MemoryLink, MemoryNetwork

from . import hostile_drivers as evil
from .nodes import becomes, befriend, has, node_on, until

pytestmark = pytest.mark.anyio
DATAGRAMS = attrs.evolve(TRAITS, stream=False, mtu=100)


@attrs.frozen
class Scene:
    """Ann, who has the hostile driver beside a sound one, and Bob."""

    ann: Node
    bob: Node
    network: evil.EvilNetwork

    @property
    def connectivity(self) -> Connectivity:
        """Ann's."""
        assert self.ann.connectivity is not None
        return self.ann.connectivity

    @property
    def told(self) -> list[str]:
        """What was told of the hostile driver."""
        return [one.words for one in self.connectivity.decisions if one.transport == evil.NAME]

    async def is_named(self, words: str) -> None:
        """Wait until Ann says this about the driver, by its name."""

        async def named() -> bool:
            return any(words in told and evil.NAME in told for told in self.told)

        await until(named, f"{evil.NAME}: {words}")

    async def goes_on(self) -> None:
        """Ann and Bob talk over the sound transport."""
        cid = await self.ann.send("Bob", "still here")
        await becomes(self.ann, "Bob", cid, "acknowledged")


@asynccontextmanager
async def scene(
    directory: Path, kind: type[evil.EvilTransport], *, both: bool = False, **traits: Any
) -> AsyncIterator[Scene]:
    """Ann with a hostile driver; `both`: Bob has a sound one on the same network."""
    sound, network = MemoryNetwork(), evil.EvilNetwork(kind, **traits)
    plain = MemoryNetwork(evil.NAME, traits=network.traits)
    plain._transports = network._transports
    async with (
        node_on(sound, directory / "Bob", *([plain] if both else [])) as bob,
        node_on(sound, directory / "Ann", network) as ann,
    ):
        await befriend(bob, ann)
        yield Scene(ann, bob, network)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (evil.ReturnsAtOnce, "its run() ended by itself"),
        (evil.RaisesAtOnce, "KeyError: 'adapter'"),
        (evil.EndsTheProgram, "it tried to end the whole program"),
        (evil.EndsAfterItStarted, "its run() ended by itself"),
        (evil.NeverStarts, "it did not say within 0.3 s that it started"),
        (evil.DiscoversNothing, "TypeError"),
        (evil.DiscoveryEnds, "its discovery ended by itself"),
        (evil.Floods, "reports more than 200 changes a second"),
        (evil.HandsUpTooMuch, "links too many"),
        (evil.CannotAdvertise, "advertise() raised ZeroDivisionError: no tags"),
        (evil.SaysNonsense, "it said 'excellent' of itself"),
        (evil.SaysNonsense, "State.DISABLED"),
        (evil.SaysNonsense, "it gave its reasons as str"),
        (evil.HandsUpNonsense, "it gave a link without send()"),
    ],
    ids=lambda value: getattr(value, "__name__", "").strip("<>") or None,
)
async def test_lives(
    kind: type[evil.EvilTransport], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How a driver starts, runs and ends."""
    monkeypatch.setattr(supervision, "START_LIMIT", 0.3)
    monkeypatch.setattr(transport_host, "MAX_REFUSED", 200)
    async with scene(tmp_path, kind) as the:
        await the.is_named(words)
        await the.goes_on()


async def test_one_that_fails_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one is made each time, after rests that grow, and its state says why."""
    monkeypatch.setattr(supervision, "RESTARTS", (0.01, 0.02, 0.03))
    async with scene(tmp_path, evil.RaisesAtOnce) as the:

        async def given_up() -> bool:
            return len(the.network.made) == 4 and the.told[-1].endswith("s")

        await until(given_up, "four starts")
        (state,) = [one for one in the.connectivity.transports if one.name == evil.NAME]
        await until(lambda: rests_long(state), "an hour of rest")
        assert state.reasons == ("KeyError: 'adapter'",)
        assert len({id(made) for made in the.network.made}) == 4
        await the.goes_on()


async def rests_long(state: running.RunningTransport) -> bool:
    """Whether a transport is left alone for about an hour."""
    return state.retry_at is not None and state.retry_at - state.monotonic() > 0.7 * LAST_RESORT


def test_rests_grow_to_a_minute_then_an_hour() -> None:
    """Five rests that grow, then hourly."""
    rests = [rest_after(failures) for failures in range(1, 8)]
    assert rests == [2.0, 5.0, 15.0, 30.0, 60.0, 3600.0, 3600.0]


@pytest.mark.parametrize("kind", [evil.SwallowsCancellation, evil.ShieldsItself])
async def test_one_that_does_not_stop(
    kind: type[evil.EvilTransport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left behind, and named; the node ends in time all the same."""
    monkeypatch.setattr(severable, "STOP_LIMIT", 0.3)
    async with scene(tmp_path, kind) as the:
        (state,) = [one for one in the.connectivity.transports if one.name == evil.NAME]
        state.scope.cancel()
        await the.is_named("it did not stop within 0.3 s and was left behind")
        await the.goes_on()
        start = anyio.current_time()
    assert anyio.current_time() - start < 5


LIES = {
    "another transport's endpoint": (
        EndpointFound(Endpoint("memory", "1"), evil.BEACON),
        "of another transport ('memory')",
    ),
    "an address that is no text": (EndpointFound(Endpoint("evil", 17), evil.BEACON), "no text but int"),  # type: ignore[arg-type]
    "a huge address": (EndpointFound(Endpoint("evil", "1" * 10**6), evil.BEACON), "an address of 1000000 characters"),
    "no endpoint": (EndpointFound("evil", evil.BEACON), "gave str as an endpoint"),  # type: ignore[arg-type]
    "no event": ("found", "its discovery gave str"),
    "a short nonce": (EndpointFound(Endpoint("evil", "1"), Beacon(b"1", ())), "without a nonce of 8 bytes"),
    "a long tag": (EndpointFound(Endpoint("evil", "1"), Beacon(b"1" * 8, (b"1" * 9,))), "a tag that has not 8 bytes"),
    "too many tags": (
        EndpointFound(Endpoint("evil", "1"), Beacon(b"1" * 8, (b"1" * 8,) * 5000)),
        "no tuple of at most",
    ),
    "no tags": (EndpointFound(Endpoint("evil", "1"), Beacon(b"1" * 8, 7)), "no tuple of at most"),  # type: ignore[arg-type]
    "a loss elsewhere": (EndpointLost(Endpoint("memory", "1")), "of another transport ('memory')"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_lies(lie: str, tmp_path: Path) -> None:
    """What a discovery reports."""
    report, words = LIES[lie]
    async with scene(tmp_path, evil.reporting(report)) as the:
        await the.is_named(words)
        assert not [near for near in the.connectivity.dialling.endpoints if near.endpoint.transport == evil.NAME]
        await the.goes_on()


async def test_one_that_goes_on_lying_is_started_again(tmp_path: Path) -> None:
    """Many faults within a minute end that start of the driver."""
    report = EndpointFound(Endpoint("memory", "1"), evil.BEACON)
    async with scene(tmp_path, evil.reporting(*[report] * 50)) as the:
        await the.is_named("20 faults within a minute")
        assert sum(one.times for one in the.connectivity.decisions if one.kind is Kind.FAULT) <= 25
        await the.goes_on()


async def test_the_same_endpoint_again_and_again(tmp_path: Path) -> None:
    """Harmless: an endpoint that nobody knows is known once, and nobody dials it."""
    report = EndpointFound(Endpoint("evil", "1"), evil.BEACON)
    async with scene(tmp_path, evil.reporting(*[report] * 500)) as the:
        await the.goes_on()
        assert [n.endpoint.address for n in the.connectivity.dialling.endpoints if n.endpoint.transport == "evil"] == [
            "1"
        ]
        assert not the.network.dialled


class FindsItself(evil.EvilTransport):
    """Reports its own endpoint, with its own beacon."""

    async def advertise(self, beacon: Beacon | None) -> None:
        """Show it to oneself."""
        await super().advertise(beacon)
        if self.endpoint is not None:
            self._hear(EndpointFound(self.endpoint, beacon))


async def test_its_own_endpoint(tmp_path: Path) -> None:
    """Whoever finds itself does not dial itself."""
    async with scene(tmp_path, FindsItself) as the:
        dialling = the.connectivity.dialling

        async def found() -> bool:
            own = [near.beacon for near in dialling.endpoints if near.endpoint.transport == evil.NAME]
            return the.connectivity.adverts.present.beacon in own

        await until(found, "Ann finds herself")
        await the.goes_on()
        assert not the.network.dialled


async def refuse(transport: object, endpoint: Endpoint) -> Any:
    """What no dial may raise."""
    raise KeyError(endpoint.address)


async def never(transport: object, endpoint: Endpoint) -> Any:
    """No end."""
    await anyio.sleep_forever()


DIALS: dict[str, tuple[type[evil.EvilTransport], str]] = {
    "raises": (evil.dialling(refuse), "dial() raised KeyError"),
    "never ends": (evil.dialling(never), "dial() did not end within 0.1 s"),
    "gives nothing": (evil.dialling(lambda *_: None), "it gave a link without send()"),
    "gives a text": (evil.dialling(lambda *_: "link"), "it gave a link without send()"),
    "a link without receive": (evil.linking(evil.without("receive")), "it gave a link without receive()"),
    "a link without traits": (evil.linking(evil.without("traits")), "it gave a link without traits"),
    "traits of another kind": (evil.linking(evil.with_value("traits", {"mtu": 7})), "it gave a link without traits"),
    "no initiator": (evil.linking(evil.with_value("initiator", "me")), "does not say who is its initiator"),
    "says it did not dial": (evil.linking(evil.with_value("initiator", False)), "says that it did not"),
    "no remote": (evil.linking(evil.without("remote")), "gave NoneType as an endpoint"),
    "remote elsewhere": (evil.linking(evil.with_value("remote", Endpoint("memory", "1"))), "of another transport"),
    "gives no bytes": (evil.linking(evil.receiving(b"")), "a link gave no bytes at all"),
    "gives text": (evil.linking(evil.receiving("text")), "a link gave str in place of bytes"),
    "gives None": (evil.linking(evil.receiving(None)), "a link gave NoneType in place of bytes"),
    "gives too much": (evil.linking(evil.receiving(bytes(17 * 2**20))), "at once, its limit is 16777216"),
    "send raises": (evil.linking(evil.raising("send")), "send() of a link raised LookupError: table"),
    "receive raises": (evil.linking(evil.raising("receive")), "receive() of a link raised LookupError: table"),
}


@pytest.mark.parametrize("case", DIALS)
async def test_dials_and_links(case: str, tmp_path: Path) -> None:
    """What comes of a dial."""
    kind, words = DIALS[case]
    async with scene(
        tmp_path, kind, both=True, dial_timeout=0.1 if case == "never ends" else 5.0, bitrate=10**10
    ) as the:
        await the.is_named(words)
        await the.goes_on()


async def test_a_link_that_gives_one_byte_at_a_time(tmp_path: Path) -> None:
    """Slow and allowed: the session on it works."""

    def dripping(link: MemoryLink) -> None:
        receive, waiting = link.receive, bytearray()

        async def one_byte() -> bytes:
            if not waiting:
                waiting.extend(await receive())
            return bytes([waiting.pop(0)])

        link.receive = one_byte  # type: ignore[method-assign]

    async with scene(tmp_path, evil.linking(dripping), both=True, bitrate=10**10) as the:
        await the.goes_on()
        await has(the.bob, "Ann", "still here")
        assert not [one for one in the.connectivity.decisions if one.kind is Kind.FAULT]


async def test_a_datagram_that_is_too_long(tmp_path: Path) -> None:
    """The link is dropped and the driver named; one of its length is fine."""
    told: list[str] = []

    class Keeper:
        """Notes what is told."""

        def fault(self, words: str) -> None:
            told.append(words)

        def passed(self, sent: int, received: int) -> None:
            pass

        def may_pass(self) -> str:
            return ""

    sound = evil.SilentLink()
    for size in (100, 101):
        sound.traits = DATAGRAMS
        sound.receive = lambda size=size: give(bytes(size))  # type: ignore[misc, method-assign]
        link = GuardedLink(sound, Keeper())
        if size == 100:
            assert len(await link.receive()) == 100
            assert not told
        else:
            with pytest.raises(LinkLost):
                await link.receive()
    assert told == ["a link gave 101 bytes at once, its limit is 100"]


async def give(data: bytes) -> bytes:
    """Give it."""
    return data


async def test_a_blocked_loop_is_noticed(tmp_path: Path) -> None:
    """Nobody can tell who it was; that it was is told."""
    async with scene(tmp_path, evil.BlocksTheLoop) as the:

        async def noticed() -> bool:
            return any("something held up the whole node for" in one.words for one in the.connectivity.decisions)

        await until(noticed, "the loop was blocked")
        await the.goes_on()
