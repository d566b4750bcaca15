"""Bundles between nodes that never share a network: what is written, what is taken in, and what that proves."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from berty_core.codec.cid import Cid
from berty_core.config import NodeConfig
from berty_core.contracts.bundle import CHUNK_BYTES, BundleReport, ChunkState
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import UserError
from berty_core.ids import GroupId
from berty_core.protocol.bundle import (
    CHUNK,
    BundleKeys,
    Entries,
    Part,
    Statement,
    open_chunk,
    pack_blocks,
    seal_entries,
    seal_part,
    seal_statement,
)
from berty_core.protocol.entry import sign_entry
from berty_core.protocol.group import LogKind
from berty_core.protocol.payloads import UserMessage
from berty_core.runtime.bundles import exporting as bundle_export
from berty_core.runtime.bundles.importing import MAX_REFUSED
from berty_core.runtime.node import Node
from berty_core.testing.memory_transport import MemoryNetwork

from .nodes import do, has, node_on, see, state_of, texts, until
from .nodes import group_of as met_group

pytestmark = pytest.mark.anyio
ALONE = NodeConfig(keyring=False, disabled=("mdns", "libp2p"))


@asynccontextmanager
async def alone(directory: Path, *names: str) -> AsyncIterator[list[Node]]:
    """Nodes without any network."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Node.open(directory / name, name=name, network=False, config=ALONE))
            for name in names
        ]


async def join(founder: Node, *members: Node, name: str = "group") -> GroupId:
    """A group whose link was handed over by other means."""
    view = await do(founder, founder.actions.group_new, name)
    link = (await see(founder, founder.actions.group_invite, name))["link"]
    for member in members:
        await do(member, member.actions.group_join, link)
    return GroupId(bytes.fromhex(view["id"]))


async def chunks_of(node: Node, *groups: GroupId | str, **options: object) -> list[bytes]:
    """A whole bundle, in memory."""
    export = await node.export_bundle(*groups, **options)  # type: ignore[arg-type]
    return [chunk async for chunk in export]


async def carry(source: Node, *targets: Node, **options: object) -> list[BundleReport]:
    """Write a bundle, and take it in."""
    chunks = await chunks_of(source, **options)
    return [await target.import_bundle(chunks) for target in targets]


async def entries_in(node: Node, group: GroupId, chunks: Sequence[bytes]) -> set[Cid]:
    """The entries of one group in a bundle."""
    found = await see(node, lambda: node.replica.groups[group].group)
    keys, cids = BundleKeys.of(found.link_key), set()
    for chunk in chunks:
        try:
            content = open_chunk(keys, chunk)
        except Exception:  # noqa: S112  of another group
            continue
        if isinstance(content, Entries):
            cids |= {Cid.of(block) for block in content.blocks}
        elif isinstance(content, Part):
            cids.add(content.cid)
    return cids


async def state(node: Node, group: GroupId) -> object:
    """All entries of a group, and what is known of others."""
    replica = node.replica.groups[group]
    return await see(node, lambda: ([list(log.cids()) for log in replica.logs.values()], replica.peers.all()))


async def logs(node: Node, group: GroupId) -> object:
    """All entries of a group."""
    return await see(node, lambda: [list(log.cids()) for log in node.replica.groups[group].logs.values()])


def test_the_size_of_a_chunk() -> None:
    """What carriers are told is what is sealed."""
    assert CHUNK_BYTES == CHUNK


async def test_three_rounds(tmp_path: Path) -> None:
    """Two who never share a network talk by bundles; what one stated to hold is not written to it again."""
    async with alone(tmp_path, "Ann", "Bob") as (ann, bob):
        group = await join(ann, bob)
        for number in range(3):
            await ann.send("group", f"Ann {number}")
            (there,) = await carry(ann, bob)
            await bob.send("group", f"Bob {number}")
            (back,) = await carry(bob, ann)
            assert there.entries > 0 and back.entries > 0
            assert there.count(ChunkState.UNREADABLE) == back.count(ChunkState.UNREADABLE) == 0
        await carry(ann, bob)
        assert await logs(ann, group) == await logs(bob, group)
        assert {"Bob 0", "Bob 1", "Bob 2", "Ann 2"} <= set(await texts(ann, "group"))
        assert {"Ann 1", "Ann 2", "Bob 2"} <= set(await texts(bob, "group"))
        again = await entries_in(ann, group, await chunks_of(ann))
        assert len(again) < 3, "Bob has stated nearly all of it"
        assert await ann.bundle_gaps() == {}


async def test_twice_changes_nothing(tmp_path: Path) -> None:
    """The same bundle again brings nothing, in whatever order."""
    async with alone(tmp_path, "Ann", "Bob") as (ann, bob):
        group = await join(ann, bob)
        for number in range(40):
            await ann.send("group", f"{number} " + "x" * 300)
        chunks = await chunks_of(ann, group)
        first = await bob.import_bundle(chunks[::-1])
        assert first.entries > 40
        before = await state(bob, group)
        again = await bob.import_bundle(random.Random(1).sample(chunks, len(chunks)))
        assert again.entries == 0
        assert set(again.chunks) == {ChunkState.KNOWN}
        assert await state(bob, group) == before


async def test_a_large_entry_is_carried_in_parts(tmp_path: Path) -> None:
    """An entry that no chunk has room for comes in parts, also by several calls."""
    async with alone(tmp_path, "Ann", "Bob") as (ann, bob):
        group = await join(ann, bob)
        await carry(ann, bob)
        await carry(bob, ann)
        text = "long " * 40_000
        await ann.send("group", text)
        chunks = await chunks_of(ann, group)
        assert len(chunks) > 15
        for chunk in [*chunks, *chunks]:
            await bob.import_bundle([chunk])
        assert text in await texts(bob, "group")


async def test_lost_chunks_are_all_that_is_lost(tmp_path: Path) -> None:
    """Whatever chunks are missing or damaged, the rest is taken in; with them all is there."""
    async with alone(tmp_path, "Ann", "Bob") as (ann, bob):
        group = await join(ann, bob)
        for number in range(60):
            await ann.send("group", f"{number} " + "x" * 500)
        chunks = await chunks_of(ann, group)
        damaged = bytearray(chunks[3])
        damaged[-1] ^= 1
        lost = await bob.import_bundle([*chunks[:2], bytes(damaged), *chunks[4:]])
        assert lost.count(ChunkState.UNREADABLE) == 1
        assert lost.count(ChunkState.WAITING) > 0
        assert (await bob.bundle_gaps())[group] >= 1
        assert (await bob.import_bundle([chunks[3]])).chunks == (ChunkState.WAITING,)
        assert (await bob.import_bundle([chunks[2]])).entries > 40
        assert await bob.bundle_gaps() == {}
        assert await entries_in(ann, group, chunks) <= {
            cid for log in (await see(bob, lambda: bob.replica.groups[group].logs)).values() for cid in log.cids()
        }


async def test_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    """A bundle tells what its author waits for."""
    async with alone(tmp_path, "Ann", "Bob") as (ann, bob):
        group = await join(ann, bob)
        for number in range(60):
            await ann.send("group", f"{number} " + "x" * 500)
        chunks = await chunks_of(ann, group)
        await bob.import_bundle([*chunks[:2], *chunks[4:]])
        (statement, *_) = await chunks_of(bob, group)
        found = open_chunk(BundleKeys.of(bob.replica.groups[group].group.link_key), statement)
        assert isinstance(found, Statement)
        assert sum(map(len, found.wanted.values())) >= 1
        lacking = await entries_in(ann, group, chunks[2:4])
        assert {cid for cids in found.wanted.values() for cid in cids} <= lacking


async def test_others_learn_nothing(tmp_path: Path) -> None:
    """To who is in none of the groups every chunk is for somebody else, and nothing of the content is to be seen."""
    async with alone(tmp_path, "Ann", "Bob", "Eve") as (ann, bob, eve):
        group = await join(ann, bob)
        cid = await ann.send("group", "known plaintext")
        chunks = await chunks_of(ann)
        report = await eve.import_bundle(chunks)
        assert set(report.chunks) == {ChunkState.FOREIGN}
        everything = b"".join(chunks)
        replica = ann.replica.groups[group]
        for known in (b"known plaintext", bytes(group), cid.digest[:8], replica.device_id, replica.group.link_key):
            assert known not in everything
        assert b"orbitdb" not in everything


async def test_a_signed_statement_proves_that_messages_are_held(tmp_path: Path) -> None:
    """Writing a bundle proves nothing; a statement that comes back makes messages held, an Acknowledge acknowledged."""
    async with alone(tmp_path, "Ann", "Bob") as (ann, bob):
        await join(ann, bob)
        await carry(ann, bob)
        await carry(bob, ann)
        cid = await ann.send("group", "do you have it?")
        chunks = await chunks_of(ann)
        assert await state_of(ann, "group", cid) == "stored"
        await bob.import_bundle(chunks)
        back = await chunks_of(bob)
        keys = BundleKeys.of(
            ann.replica.groups[(await see(ann, ann.actions.find_group, "group")).group.id].group.link_key
        )
        statements = [chunk for chunk in back if _is_statement(keys, chunk)]
        await ann.import_bundle([chunk for chunk in back if chunk not in statements])
        await ann.import_bundle(statements)
        assert await state_of(ann, "group", cid) in ("held", "acknowledged")


def _is_statement(keys: BundleKeys, chunk: bytes) -> bool:
    try:
        return isinstance(open_chunk(keys, chunk), Statement)
    except Exception:
        return False


async def test_held_needs_a_device_of_the_group(tmp_path: Path) -> None:
    """What a mere holder of the link key states, or a device that is not in the group, makes no message held."""
    async with alone(tmp_path, "Ann", "Bob") as (ann, bob):
        group = await join(ann, bob)
        await carry(ann, bob)
        await carry(bob, ann)
        cid = await ann.send("group", "who has it?")
        replica = ann.replica.groups[group]
        keys = BundleKeys.of(replica.group.link_key)
        heads = await see(ann, lambda: {kind: list(log.heads) for kind, log in replica.logs.items()})
        wanted = {kind: list[Cid]() for kind in LogKind}
        for device in (None, PrivateKey(b"\5" * 32), replica.device):
            await ann.import_bundle([seal_statement(keys, ann.entropy(24), replica.group, device, heads, wanted, 1)])
            assert await state_of(ann, "group", cid) == "stored"
        device = bob.replica.groups[group].device
        await ann.import_bundle([seal_statement(keys, ann.entropy(24), replica.group, device, heads, wanted, 1)])
        assert await state_of(ann, "group", cid) == "held"


async def test_quota(tmp_path: Path) -> None:
    """No more is written than the quota; the oldest first, so that each part can be used; the rest comes next time."""
    async with alone(tmp_path, "Ann", "Bob") as (ann, bob):
        group = await join(ann, bob)
        for number in range(120):
            await ann.send("group", f"{number} " + "x" * 1000)
        written = 0
        for _ in range(12):
            export = await ann.export_bundle(group, quota=6 * CHUNK)
            chunks = [chunk async for chunk in export]
            assert len(chunks) * CHUNK <= 6 * CHUNK
            written += export.entries
            report = await bob.import_bundle(chunks)
            assert report.count(ChunkState.WAITING) <= 1, "of Ann's statement only"
            await ann.import_bundle(await chunks_of(bob, group))
            if not export.left_out:
                break
        assert await bob.bundle_gaps() == {}
        assert written >= 120
        with pytest.raises(UserError, match="too small"):
            await ann.export_bundle(group, quota=CHUNK)


async def test_since_last(tmp_path: Path) -> None:
    """Without word from the reader, what was confirmed to be written is left out the next time, and the rest comes."""
    async with alone(tmp_path, "Ann", "Bob") as (ann, bob):
        group = await join(ann, bob)
        for number in range(60):
            await ann.send("group", f"{number} " + "x" * 1000)
        everything: set[Cid] = set()
        for quota in (8 * CHUNK, 8 * CHUNK, None):
            export = await ann.export_bundle(group, since_last=True, quota=quota)
            chunks = [chunk async for chunk in export]
            found = await entries_in(ann, group, chunks)
            assert not found & everything
            everything |= found
            await export.confirm()
            await bob.import_bundle(chunks)
        assert await chunks_of(ann, group, since_last=True, whole=False)
        assert not await entries_in(ann, group, await chunks_of(ann, group, since_last=True))
        assert await bob.bundle_gaps() == {}
        assert len(everything) > 60
        unconfirmed = await entries_in(ann, group, await chunks_of(ann, group))
        assert everything <= unconfirmed, "since what is proven: Bob has not answered"


async def test_an_old_statement_is_passed_over(tmp_path: Path) -> None:
    """A bundle from before that comes once more does not make anybody write again what was stated since."""
    async with alone(tmp_path, "Ann", "Bob") as (ann, bob):
        group = await join(ann, bob)
        await carry(ann, bob)
        old = await chunks_of(bob)
        for number in range(9):
            await ann.send("group", f"{number}")
        await carry(ann, bob)
        await carry(bob, ann)
        before = await state(ann, group)
        await ann.import_bundle(old)
        assert await state(ann, group) == before
        assert len(await entries_in(ann, group, await chunks_of(ann, group))) < 5


async def test_the_ends_of_what_was_written_are_few(tmp_path: Path) -> None:
    """What `since_last` remembers is where the log ended, not all that was written."""
    async with alone(tmp_path, "Ann") as (ann,):
        group = await join(ann)
        for number in range(30):
            await ann.send("group", f"{number}")
        export = await ann.export_bundle(group, since_last=True)
        assert [chunk async for chunk in export]
        await export.confirm()
        heads = await see(ann, lambda: [set(log.heads) for log in ann.replica.groups[group].logs.values()])
        (share,) = (await ann.export_bundle(group, since_last=True)).shares
        assert [set(share.given[kind]) for kind in LogKind] == heads


async def test_readers(tmp_path: Path) -> None:
    """One silent member makes it whole; for one person it is since what that person stated; `whole` is all of it."""
    async with alone(tmp_path, "Ann", "Bob", "Carl") as (ann, bob, carl):
        group = await join(ann, bob, carl)
        await carry(ann, bob, carl)
        await carry(bob, carl)
        await carry(carl, ann)
        (share,) = (await ann.export_bundle(group)).shares
        assert (share.told, share.silent) == (1, 1)
        assert share.entries == len(await entries_in(ann, group, await chunks_of(ann, group, whole=True)))
        for _ in range(3):
            await carry(bob, ann, carl)
            await carry(ann, bob, carl)
            await carry(carl, bob, ann)
        (share,) = (await ann.export_bundle(group)).shares
        assert (share.told, share.silent) == (2, 0)
        assert share.entries == 0, "both have stated all of it"
        await ann.send("group", "new")
        everything = await entries_in(ann, group, await chunks_of(ann, group, whole=True))
        since_all = await entries_in(ann, group, await chunks_of(ann, group))
        for_bob = await entries_in(ann, group, await chunks_of(ann, group, reader="Bob"))
        assert for_bob <= since_all < everything
        assert len(for_bob) >= 1
        with pytest.raises(UserError, match="no member 'Dora'"):
            await ann.export_bundle(group, reader="Dora")


async def test_whoever_was_met_live_is_known(tmp_path: Path) -> None:
    """A session that was in step tells what the other holds, as a bundle does."""
    network = MemoryNetwork()
    async with node_on(network, tmp_path / "Ann") as ann, node_on(network, tmp_path / "Bob") as bob:
        group = await met_group(ann, bob)
        await ann.send("group", "over the air")
        await has(bob, "group", "over the air")

        async def nothing_is_lacking() -> bool:
            (share,) = (await ann.export_bundle(group)).shares
            return share.entries == 0

        await until(nothing_is_lacking, "Bob is known to hold everything")
        (share,) = (await ann.export_bundle(group)).shares
        assert (share.told, share.silent) == (1, 0)


async def test_hostile_entries(tmp_path: Path) -> None:
    """Blocks that are none, or of another log, are refused and counted; what waits is bounded; the node goes on."""
    async with alone(tmp_path, "Ann", "Bob") as (ann, bob):
        group = await join(ann, bob)
        await carry(ann, bob)
        await carry(bob, ann)
        replica = bob.replica.groups[group]
        keys, log = BundleKeys.of(replica.group.link_key), replica.logs[LogKind.MESSAGES]
        before = await state(bob, group)
        junk = [bytes([n % 256]) * (n + 1) for n in range(MAX_REFUSED + 50)]
        orphans = [
            sign_entry(replica._identity, log.address, b"v%d" % n, (Cid.of(b"%d" % n),), (), 1)[1] for n in range(200)
        ]
        chunks = [
            seal_entries(keys, bob.entropy(24), content.kind, content.blocks)
            for blocks in (junk, orphans)
            for content in pack_blocks(LogKind.MESSAGES, blocks)
            if isinstance(content, Entries)
        ]
        parts = [
            seal_part(keys, bob.entropy(24), part)
            for n in range(40)
            for part in list(pack_blocks(LogKind.MESSAGES, [bytes([n]) * 40_000]))[:1]
            if isinstance(part, Part)
        ]
        report = await bob.import_bundle([*chunks, *parts])
        assert report.refused == len(set(junk))
        assert report.entries == 0
        assert report.count(ChunkState.WAITING) > 0
        assert await state(bob, group) == before
        await ann.send("group", "after all that")
        await carry(ann, bob)
        assert "after all that" in await texts(bob, "group")


async def test_an_ancestor_that_breaks_the_rules(tmp_path: Path) -> None:
    """A refused ancestor does not stand before its descendants, whichever chunk comes first, and is passed on."""
    async with alone(tmp_path, "Ann", "Bob", "Carl") as (ann, bob, carl):
        group = await join(ann, bob, carl)
        await carry(ann, bob, carl)
        replica = ann.replica.groups[group]
        keys, log = BundleKeys.of(replica.group.link_key), replica.logs[LogKind.MESSAGES]
        other = ann.replica.account
        bad = sign_entry(other._identity, log.address, b"bad", (), (), 1)[1]
        child = sign_entry(replica._identity, log.address, b"child", (Cid.of(bad),), (), 2)[1]
        first, second = (seal_entries(keys, ann.entropy(24), LogKind.MESSAGES, [block]) for block in (bad, child))
        await bob.import_bundle([first])
        report = await bob.import_bundle([second])
        assert await see(bob, lambda: Cid.of(child) in bob.replica.groups[group].logs[LogKind.MESSAGES])
        assert report.count(ChunkState.WAITING) == 0
        await carry(bob, carl)
        assert await see(carl, lambda: Cid.of(child) in carl.replica.groups[group].logs[LogKind.MESSAGES])


async def test_an_account_is_carried(tmp_path: Path) -> None:
    """The group of an account's own devices is written with the others, and tells nothing to a contact."""
    async with alone(tmp_path, "Ann", "Bob") as (ann, bob):
        await join(ann, bob)
        export = await ann.export_bundle()
        assert bundle_export.ACCOUNT_NAME in {share.name for share in export.shares}
        report = await bob.import_bundle([chunk async for chunk in export])
        assert report.count(ChunkState.FOREIGN) > 0
        assert report.entries > 0


async def test_a_group_that_was_left(tmp_path: Path) -> None:
    """Chunks of a group that was left are for somebody else; an export that was planned before writes on without it."""
    async with alone(tmp_path, "Ann", "Bob") as (ann, bob):
        group = await join(ann, bob)
        await ann.send("group", "x")
        export = await ann.export_bundle(group)
        await do(ann, ann.actions.group_leave, "group")
        chunks = [chunk async for chunk in export]
        await bob.import_bundle(chunks)
        await do(bob, bob.actions.group_leave, "group")
        report = await bob.import_bundle(chunks)
        assert set(report.chunks) == {ChunkState.FOREIGN}
        with pytest.raises(UserError, match="not open"):
            await ann.export_bundle(group)


async def test_messages_count_as_news_once_all_is_here(tmp_path: Path) -> None:
    """What follows a complete bundle is news, and is acknowledged; history is not."""
    async with alone(tmp_path, "Ann", "Bob") as (ann, bob):
        group = await join(ann, bob)
        await ann.send("group", "history")
        await carry(ann, bob)
        assert bob.replica.groups[group].live
        await carry(bob, ann)
        cid = await do(ann, lambda: ann.replica.groups[group].send(UserMessage("news")))
        await carry(ann, bob)
        await carry(bob, ann)
        assert await state_of(ann, "group", cid) == "acknowledged"
