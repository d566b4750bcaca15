"""A block is found by its identifier alone, at a cost that does not grow with the number of logs."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from berty_core.codec.cid import Cid
from berty_core.config import NodeConfig
from berty_core.contracts.session import LogId
from berty_core.protocol.entry import LogIdentity, sign_entry
from berty_core.protocol.group import LogKind
from berty_core.runtime.node import Node
from berty_core.runtime.sessions.profile_host import NodePort

pytestmark = pytest.mark.anyio
OFF_LINE = NodeConfig(keyring=False, disabled=("mdns", "libp2p"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def everything(node: Node) -> dict[Cid, bytes]:
    """All blocks of all open groups."""

    def read() -> dict[Cid, bytes]:
        logs = [log for group in node.replica.groups.values() for log in group.logs.values()]
        return {cid: log.read(cid).block for log in logs for cid in log.cids()}

    return await node.store.read(read)


async def test_the_cost_does_not_grow_with_the_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One block takes two reads, one that nobody has takes one, whether there are two logs or forty."""
    async with Node.open(tmp_path / "Ann", name="Ann", config=OFF_LINE, network=False) as node:
        for number in range(20):
            await node.store.write(node.actions.group_new, f"group {number}")
            await node.send(f"group {number}", "hello")
        blocks, reads = await everything(node), list[bytes]()
        get = node.replica.records.get
        monkeypatch.setattr(node.replica.records, "get", lambda key: reads.append(key) or get(key))
        port = NodePort(node, "libp2p")
        for cid, block in blocks.items():
            reads.clear()
            assert await port.blocks([cid]) == {cid: block}
            assert len(reads) <= 2
        reads.clear()
        assert await port.blocks([Cid.of(b"nobody has this")]) == {}
        assert len(reads) == 1


async def test_a_group_that_was_left_is_not_served(tmp_path: Path) -> None:
    """Its blocks stay on the disk, and are given again once it is joined again."""
    async with Node.open(tmp_path / "Ann", name="Ann", config=OFF_LINE, network=False) as node:
        await node.store.write(node.actions.group_new, "club")
        cid = await node.send("club", "hello")
        link = (await node.store.write(node.actions.group_invite, "club"))["link"]
        port = NodePort(node, "libp2p")
        assert cid in await port.blocks([cid])
        await node.store.write(node.actions.group_leave, "club")
        assert await port.blocks([cid]) == {}
        await node.store.write(node.actions.group_join, link)
        assert cid in await port.blocks([cid])


async def test_refused_blocks_are_found(tmp_path: Path) -> None:
    """Others need them to judge for themselves; one that is refused in one log and joins another is the latter's."""
    async with Node.open(tmp_path / "Ann", name="Ann", config=OFF_LINE, network=False) as node:
        await node.store.write(node.actions.group_new, "club")
        await node.store.write(node.actions.group_new, "other club")
        one, other = [await node.store.read(node.actions.find_group, name) for name in ("club", "other club")]
        log = one.logs[LogKind.MESSAGES]
        false = sign_entry(LogIdentity.of(other.group.signing_key), log.address, b"x", (), (), 1)[1]
        child, block = sign_entry(LogIdentity.of(one.group.signing_key), log.address, b"y", (Cid.of(false),), (), 2)
        port = NodePort(node, "libp2p")
        await port.store(LogId(one.group.id, LogKind.MESSAGES), [(child, block)], [])
        await port.store(LogId(one.group.id, LogKind.MESSAGES), [], [false])
        assert await port.blocks([child.cid, Cid.of(false)]) == {child.cid: block, Cid.of(false): false}


async def test_a_home_of_the_schema_before(tmp_path: Path) -> None:
    """It lacks the places of its blocks: they are noted when it is opened, once."""
    home = tmp_path / "Ann"
    async with Node.open(home, name="Ann", config=OFF_LINE, network=False) as node:
        await node.store.write(node.actions.group_new, "club")
        for number in range(300):
            await node.send("club", str(number))
        blocks = await everything(node)
    with sqlite3.connect(home / "berty.sqlite3") as store:
        store.execute("DELETE FROM record WHERE substr(key, 1, 1) = CAST('p' AS BLOB)")
        store.execute("UPDATE record SET value = CAST('1' AS BLOB) WHERE key = CAST('!schema' AS BLOB)")
    store.close()
    async with Node.open(home, config=OFF_LINE, network=False) as node:
        assert await NodePort(node, "libp2p").blocks(list(blocks)) == blocks
        assert node.replica.records.get(b"!schema") == b"2"
