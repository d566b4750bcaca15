"""Media that show nothing: who is there is asked on the link itself, and links that come up by themselves are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus

from berty_core.contracts.transport import Beacon, EndpointFound, TransportHost
from berty_core.protocol.link_beacon import MAX_LENGTH, REQUEST, AnswerReader
from berty_core.runtime.node import Node
from berty_core.testing.memory_transport import Discovered, MemoryNetwork, MemoryTransport

from .hostile_drivers import NAME, EvilNetwork, EvilTransport
from .nodes import becomes, befriend, do, no_session, nobody_dials, node_on, one_session_each, said, until
from .test_session_profiles import all_that_comes, pipes

pytestmark = pytest.mark.anyio


class Mute(EvilTransport):
    """A medium on which somebody is seen, and which shows nothing of it."""

    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Be seen."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(super().run, host)
            await self.advertise(Beacon(bytes(8), ()))
            self._beacon = None
            task_status.started()

    def _hear(self, event: Discovered) -> None:
        super()._hear(EndpointFound(event.endpoint, None) if isinstance(event, EndpointFound) else event)


class ConnectsByItself(EvilTransport):
    """A medium that links whoever comes near: the one that was there already is the initiator."""

    host: TransportHost

    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Link to whoever shows itself."""
        self.host = host
        self.tasks: Any = None
        async with anyio.create_task_group() as self.tasks:
            await super().run(host, task_status=task_status)

    def _hear(self, event: Discovered) -> None:
        if isinstance(event, EndpointFound) and self.endpoint and self.endpoint.address < event.endpoint.address:
            self.tasks.start_soon(self._connect, event)

    async def _connect(self, event: EndpointFound) -> None:
        self.host.accept(await MemoryTransport.dial(self, event.endpoint))


async def talk(ann: Node, bob: Node) -> None:
    """A text goes through both ways."""
    await becomes(ann, "Bob", await ann.send("Bob", "hello"), "acknowledged")
    await becomes(bob, "Ann", await bob.send("Ann", "hello"), "acknowledged")


@pytest.mark.parametrize(
    ("kind", "traits"), [(Mute, {"beacon_bytes": 0}), (ConnectsByItself, {"dials": False, "discovers": False})]
)
async def test_two_meet(kind: type[EvilTransport], traits: dict[str, Any], tmp_path: Path) -> None:
    """By a contact link, and again after a restart; the link goes on behind the answer."""
    network = EvilNetwork(kind, autoconnects=not traits.get("dials", True), **traits)
    async with node_on(network, tmp_path / "Ann") as ann:
        async with node_on(network, tmp_path / "Bob") as bob:
            await befriend(bob, ann)
            await talk(ann, bob)
            await one_session_each(ann, bob)
        async with node_on(network, tmp_path / "Bob") as bob:
            await talk(ann, bob)


async def test_a_stranger_is_left_alone(tmp_path: Path) -> None:
    """Whoever shows nothing that we know is asked once, and not again before long."""
    network = EvilNetwork(Mute, beacon_bytes=0)
    async with node_on(network, tmp_path / "Ann") as ann, node_on(network, tmp_path / "Bob") as bob:
        for node in (ann, bob):
            await do(node, node.actions.group_new, "alone")
        await until(lambda: said(ann, "is nobody we know"), "Ann asked Bob")
        await until(lambda: said(bob, "is nobody we know"), "Bob asked Ann")
        await until(lambda: without_links(network), "no link is left")
        await no_session(ann, bob)


async def without_links(network: MemoryNetwork) -> bool:
    """Whether all links were closed."""
    return not network.live


async def test_nobody_is_answered_where_adverts_are_shown(tmp_path: Path) -> None:
    """On a medium that shows what may be shown, a stranger who asks, from wherever, gets no byte back."""
    async with node_on(MemoryNetwork(), tmp_path / "Ann") as ann:
        await do(ann, ann.actions.group_new, "hikers")
        assert ann.connectivity is not None
        (running,) = ann.connectivity.transports
        running.pending += 1
        ours, theirs = pipes()
        ann.connectivity.accept(theirs, running)
        await ours.send(REQUEST)
        with anyio.fail_after(5):
            assert await all_that_comes(ours) == b""


async def test_an_answer_is_given_once_and_only_first(tmp_path: Path) -> None:
    """A question is answered with the present advert; whom Ann does not know either is let go in silence."""
    async with node_on(MemoryNetwork(), tmp_path / "Ann") as ann:
        await do(ann, ann.actions.group_new, "hikers")
        assert ann.connectivity is not None
        ours, theirs = pipes()
        ann.connectivity.accept(theirs)
        await ours.send(REQUEST)
        reader = AnswerReader()
        with anyio.fail_after(5):
            while (found := reader.feed(await ours.receive())) is None:
                pass
        beacon, rest = found
        assert rest == b""
        assert Beacon(beacon.nonce, beacon.tags) in [shown.beacon for shown in ann.connectivity.adverts.shown]
        await ours.send(REQUEST + bytes([1]) + bytes(16))  # its own beacon, with a tag that nobody knows
        with anyio.fail_after(5):
            assert await all_that_comes(ours) == b""


@pytest.mark.parametrize("answer", [b"\xbe", b"\xbd\xff" + bytes(MAX_LENGTH), b"\xbd\x02" + bytes(24)])
async def test_a_wrong_answer_ends_the_link(answer: bytes, tmp_path: Path) -> None:
    """Whatever a stranger answers, the link is closed with a reason, and the node goes on."""
    async with node_on(MemoryNetwork(NAME), tmp_path / "Ann") as ann:
        await do(ann, ann.actions.group_new, "hikers")
        assert ann.connectivity is not None
        ours, theirs = pipes()
        ann.connectivity.dialling.meet(ours)
        with anyio.fail_after(5):
            assert await theirs.receive() == REQUEST
            await theirs.send(answer)
            assert await all_that_comes(theirs) == b""
        await until(lambda: said(ann, "does not say who is there"), "the reason is told")
        await until(lambda: nobody_dials(ann), "it is over")
