"""Any bundles, in any part and order, among devices that never meet: all ends alike once all of it has passed."""

from __future__ import annotations

import random
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from berty_core.codec.cid import Cid
from berty_core.config import NodeConfig
from berty_core.contracts.bundle import CHUNK_BYTES, ChunkState
from berty_core.ids import GroupId
from berty_core.protocol.group import LogKind
from berty_core.runtime.node import Node

CONFIG = NodeConfig(keyring=False, disabled=("mdns", "libp2p", "udp"))
NAMES = ("Ann", "Bob", "Carl")
steps = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 2), st.integers(1, 3000)),
    st.tuples(st.just("export"), st.integers(0, 2), st.sampled_from([0, 4, 8])),
    st.tuples(st.just("carry"), st.integers(0, 2), st.integers(0, 10**6)),
)


class Journey:
    """Three devices, a group, and all bundles that were ever written."""

    def __init__(self, nodes: list[Node], group: GroupId, seed: int) -> None:
        self.nodes, self.group = nodes, group
        self.bundles: list[list[bytes]] = []
        self.random = random.Random(seed)

    async def step(self, what: str, who: int, number: int) -> None:
        """Let something happen."""
        node = self.nodes[who]
        if what == "send":
            await node.send(self.group, f"{node.replica.own_name()} " + "x" * number)
        elif what == "export":
            await self.write(node, quota=number * CHUNK_BYTES or None)
        elif self.bundles:
            chance = random.Random(number)
            chunks = chance.choice(self.bundles)
            await node.import_bundle(chance.sample(chunks, chance.randrange(len(chunks) + 1)))

    async def write(self, node: Node, **options: int | None) -> list[bytes]:
        """Write a bundle, which stays."""
        export = await node.export_bundle(self.group, **options)  # type: ignore[arg-type]
        self.bundles.append([chunk async for chunk in export])
        return self.bundles[-1]

    async def pass_everything(self) -> None:
        """Hand every bundle to everybody, in an order of its own."""
        for node in self.nodes:
            chunks = [chunk for bundle in self.bundles for chunk in bundle]
            self.random.shuffle(chunks)
            report = await node.import_bundle(chunks)
            assert report.count(ChunkState.FOREIGN) == report.count(ChunkState.UNREADABLE) == report.refused == 0

    async def logs(self, node: Node) -> list[list[Cid]]:
        """All entries of a device."""
        logs = node.replica.groups[self.group].logs
        return await node.store.read(lambda: [list(logs[kind].cids()) for kind in LogKind])


async def travel(course: list[tuple[str, int, int]], seed: int) -> None:
    """Go through the steps, then let all that was written pass until nobody writes anything new."""
    with tempfile.TemporaryDirectory() as directory:
        async with AsyncExitStack() as stack:
            nodes = [
                await stack.enter_async_context(Node.open(Path(directory) / n, name=n, network=False, config=CONFIG))
                for n in NAMES
            ]
            group = await found(nodes)
            journey = Journey(nodes, group, seed)
            for step in course:
                await journey.step(*step)
            rounds, before = 0, None
            while before != (before := [await journey.logs(node) for node in nodes]):
                rounds += 1
                assert rounds < 8, "they go on writing"
                for node in nodes:
                    await journey.write(node)
                await journey.pass_everything()
            assert before[0] == before[1] == before[2]
            assert [await node.bundle_gaps() for node in nodes] == [{}, {}, {}]
            for node in nodes:
                export = await node.export_bundle(group)
                assert sum(share.entries for share in export.shares) == 0, "everybody stated to have it all"


async def found(nodes: list[Node]) -> GroupId:
    """A group whose link was handed over by other means."""
    first, *others = nodes
    view = await first.store.write(first.actions.group_new, "group")
    link = (await first.store.read(first.actions.group_invite, "group"))["link"]
    for node in others:
        await node.store.write(node.actions.group_join, link)
    return GroupId(bytes.fromhex(view["id"]))


@given(st.lists(steps, max_size=14), st.integers(0, 10**6))
# a course that fails is short enough to be read: to shrink it would take minutes
@settings(max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
def test_any_course_converges(course: list[tuple[str, int, int]], seed: int) -> None:
    """Whatever part of what bundle came to whom and when, equal logs come out, and all is known to be held."""
    anyio.run(travel, course, seed)
