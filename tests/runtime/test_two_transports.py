"""Two devices that can meet over two media: the better one is used, the other one when it goes, and nothing is lost.

On both backends; the media are in memory, the nodes are whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from berty_core.contracts.traits import Energy
from berty_core.protocol.ranking import Policy
from berty_core.runtime.connectivity import endpoints
from berty_core.runtime.connectivity.manager import Connectivity
from berty_core.runtime.node import Node
from berty_core.runtime.why import why_peer
from berty_core.testing.memory_datagrams import MemoryDatagrams
from berty_core.testing.memory_transport import TRAITS, MemoryNetwork

from .nodes import becomes, befriend, do, has, nobody_dials, node_on, nodes_on, one_session_each, said, texts, until

pytestmark = pytest.mark.anyio
RADIO = attrs.evolve(TRAITS, bitrate=100_000, latency=0.02, energy=Energy.MEDIUM)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


@attrs.frozen
class Scene:
    """Two who are contacts, and the media around them."""

    ann: Node
    bob: Node
    wifi: MemoryNetwork
    radio: MemoryNetwork

    async def meet_over(self, transport: str) -> None:
        """Wait until both have one session, over this."""

        async def so() -> bool:
            return all([one.transport for one in node.sessions] == [transport] for node in (self.ann, self.bob))

        await until(so, f"one session each, over {transport}")
        await one_session_each(self.ann, self.bob)

    async def talk(self, text: str) -> None:
        """A text goes through, and is acknowledged."""
        await becomes(self.ann, "Bob", await self.ann.send("Bob", text), "acknowledged")
        await has(self.bob, "Ann", text)


@asynccontextmanager
async def scene(directory: Path, *, radio_first: bool = False, **config: Any) -> AsyncIterator[Scene]:
    """Ann and Bob; only the radio is there at first, if that is asked for."""
    wifi, radio = MemoryNetwork("wifi"), MemoryNetwork("radio", traits=RADIO)
    if radio_first:
        wifi.cut()
    async with (
        node_on(wifi, directory / "Ann", radio, **config) as ann,
        node_on(wifi, directory / "Bob", radio, **config) as bob,
    ):
        await befriend(bob, ann)
        yield Scene(ann, bob, wifi, radio)


def connectivity(node: Node) -> Connectivity:
    """That of a node with a network."""
    assert node.connectivity is not None
    return node.connectivity


async def test_the_better_one_is_used(tmp_path: Path) -> None:
    """Of two media both ends keep a session over the faster one, and say why."""
    async with scene(tmp_path) as the:
        await the.meet_over("wifi")
        await the.talk("hello")
        assert not the.radio.live


async def test_what_the_user_prefers_is_used(tmp_path: Path) -> None:
    """`prefer` goes before cost and speed."""
    async with scene(tmp_path, prefer=("radio",)) as the:
        await the.meet_over("radio")
        await the.talk("hello")


async def test_a_better_one_that_appears_takes_over(tmp_path: Path) -> None:
    """It is dialled while the other session goes on, which is drained then; what is written meanwhile arrives once."""
    async with scene(tmp_path, radio_first=True) as the:
        await the.meet_over("radio")
        the.wifi.mend()
        sent = [f"{number}" for number in range(20)]
        for text in sent:
            await the.ann.send("Bob", text)
        await the.meet_over("wifi")
        await has(the.bob, "Ann", *sent)
        assert await texts(the.bob, "Ann") == sent
        told = [one.words for node in (the.ann, the.bob) for one in connectivity(node).decisions]
        assert any("wifi is kept: wifi needs less energy" in words for words in told)
        assert any("another session with this device is kept" in words for words in told)


async def test_one_that_goes_is_replaced(tmp_path: Path) -> None:
    """A medium that says that it is gone is replaced at once, and used again when it is back."""
    async with scene(tmp_path) as the:
        await the.meet_over("wifi")
        the.wifi.cut()
        await the.talk("over the radio")
        await the.meet_over("radio")
        the.wifi.mend()
        await the.meet_over("wifi")
        await the.talk("over wifi again")
        assert await texts(the.bob, "Ann") == ["over the radio", "over wifi again"]


async def test_one_that_dies_in_silence_is_replaced(tmp_path: Path) -> None:
    """Nothing tells that the medium is dead: the text goes over the other one, and comes once."""
    async with scene(tmp_path) as the:
        await the.meet_over("wifi")
        await the.talk("before")
        the.wifi.stall()
        start = anyio.current_time()
        await the.talk("into the void")
        assert anyio.current_time() - start < 5
        assert await said(the.ann, "the session over wifi leaves what was sent without an answer")
        the.wifi.mend()
        await the.meet_over("wifi")
        await the.talk("after")
        assert await texts(the.bob, "Ann") == ["before", "into the void", "after"]


async def test_two_who_prefer_different_ones_keep_one_session(tmp_path: Path) -> None:
    """They agree on one of the two, and do not go to and fro."""
    wifi, radio = MemoryNetwork("wifi"), MemoryNetwork("radio", traits=RADIO)
    async with (
        node_on(wifi, tmp_path / "Ann", radio, prefer=("wifi",)) as ann,
        node_on(wifi, tmp_path / "Bob", radio, prefer=("radio",)) as bob,
    ):
        await befriend(bob, ann)
        the = Scene(ann, bob, wifi, radio)

        async def settled() -> bool:
            one = [session.transport for session in ann.sessions]
            drained = [session.draining for node in (ann, bob) for session in node.sessions]
            return len(one) == 1 and one == [s.transport for s in bob.sessions] and not any(drained)

        await until(settled, "one session")
        await until(lambda: nobody_dials(ann, bob), "nobody wants more")
        session, dialled = ann.sessions[0], len(wifi.dialled) + len(radio.dialled)
        for number in range(5):
            await the.talk(str(number))
        assert ann.sessions[0] is session
        assert len(wifi.dialled) + len(radio.dialled) == dialled


async def test_a_transport_may_be_forbidden(tmp_path: Path) -> None:
    """What costs money and must not be used is refused with its reason, and what rests says so."""
    paid = MemoryNetwork("paid", traits=attrs.evolve(TRAITS, metered=True))
    policies = {"paid": Policy(metered="never")}
    async with nodes_on(paid, tmp_path, "Ann", "Bob", transports=policies) as (ann, bob):
        link = (await do(bob, bob.actions.contact_link))["link"]
        await do(ann, ann.actions.contact_add, link)
        dialling = connectivity(ann).dialling

        async def refused() -> bool:
            near = [one for one in dialling.endpoints if one.beacon is not None]
            return any(dialling.ways.ranking(one.beacon.nonce).refused for one in near if one.beacon)

        await until(refused, "Bob is seen, and refused")
        assert not paid.dialled


async def test_a_transport_that_rests_in_the_background(tmp_path: Path) -> None:
    """It stops, is said to be paused with the reason, and is started anew; the other one is used meanwhile."""
    async with scene(tmp_path, transports={"wifi": Policy(when="foreground")}) as the:
        await the.meet_over("wifi")
        the.ann.set_foreground(False)
        await the.meet_over("radio")
        (wifi, _) = sorted(connectivity(the.ann).transports, key=lambda one: one.name, reverse=True)
        assert wifi.state.value == "paused"
        assert wifi.reasons == ("it rests in the background, as its settings say (when)",)
        await the.talk("by radio")
        the.ann.set_foreground(True)
        await the.meet_over("wifi")


@pytest.mark.parametrize("make", [MemoryNetwork, MemoryDatagrams], ids=["stream", "datagrams"])
async def test_a_quota_that_is_used_up(tmp_path: Path, make: Callable[[str], MemoryNetwork]) -> None:
    """Nothing more goes over that transport, also after a restart, and the other one is used."""
    policies = {"wifi": Policy(bytes_per_day=40_000)}
    wifi, radio = make("wifi"), MemoryNetwork("radio", traits=RADIO)
    async with node_on(wifi, tmp_path / "Bob", radio) as bob:
        async with node_on(wifi, tmp_path / "Ann", radio, transports=policies) as ann:
            await befriend(bob, ann)
            for number in range(10):
                await ann.send("Bob", f"{number} " + "x" * 5000)
            last = await ann.send("Bob", "the last one")
            await becomes(ann, "Bob", last, "acknowledged")
            assert {session.transport for session in ann.sessions} == {"radio"}
            assert ann.sessions[0].is_open
        before = len(wifi.dialled)
        async with node_on(wifi, tmp_path / "Ann", radio, transports=policies) as ann:
            await becomes(ann, "Bob", await ann.send("Bob", "the next day, nearly"), "acknowledged")
            assert {session.transport for session in ann.sessions} == {"radio"}
            (view,) = [one.usage.view() for one in connectivity(ann).transports if one.name == "wifi"]
            assert view["bytes"]["used"] >= 40_000
        assert all(not link.is_open for link in wifi.dialled[before:])


async def test_rests_end_when_the_network_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody whose dials failed is dialled at once when the surroundings are others."""
    monkeypatch.setattr(endpoints, "MAX_BACKOFF", 3600.0)
    async with scene(tmp_path) as the:
        await the.meet_over("wifi")
        dialling = connectivity(the.ann).dialling
        for near in dialling.endpoints:
            near.failures, near.not_before = 20, the.ann.monotonic() + 3600
        for near in connectivity(the.bob).dialling.endpoints:
            near.failures, near.not_before = 20, the.bob.monotonic() + 3600
        for session in the.ann.sessions:
            session.close("a test asked for it")
        with anyio.move_on_after(0.5):
            await the.meet_over("wifi")
            raise AssertionError("they rest")
        for node in (the.ann, the.bob):
            surroundings = connectivity(node).surroundings
            surroundings.change(attrs.evolve(surroundings.network, kind="wifi"))
        await the.talk("at once")


async def test_why_tells_of_who_went(tmp_path: Path) -> None:
    """Once a peer has gone, the end of its session is still told where it is asked for."""
    async with scene(tmp_path) as the:
        await the.meet_over("wifi")
        the.wifi.cut()
        the.radio.cut()

        async def gone() -> bool:
            return not the.ann.sessions

        await until(gone, "no session is left")
        told = await why_peer(the.ann, "Bob")
        assert not told["sessions"]
        assert any("session over wifi ended: " in one["words"] for one in told["decisions"])
