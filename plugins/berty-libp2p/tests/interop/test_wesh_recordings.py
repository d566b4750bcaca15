"""A Go node as the network side of a Wesh account: it sends recorded heads and serves recorded entries.

We are one more device of the recorded account: all we have at first are its two keys.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from berty_libp2p.exchange import DIRECT

from berty_core.codec.cid import Cid
from berty_core.codec.varint import encode_varint
from berty_core.config import NodeConfig
from berty_core.protocol.group import WESH, LogKind
from berty_core.runtime.node import Node, create_home
from berty_core.runtime.replica.archive import read_archive
from berty_core.runtime.replica.records import NOTE

from ..test_exchange import eventually, joined
from .go_peer import GoPeer, go_peer

VECTORS = Path(__file__).parents[4] / "tests" / "vectors" / "wesh"
CONFIG = NodeConfig(keyring=False, profile="wesh")
DAG_CBOR = 0x71

pytestmark = pytest.mark.anyio


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress((VECTORS / f"{name}.json.gz").read_bytes()))
    return found


def keys_only(path: Path) -> Path:
    """An archive of the recorded account A without any entry."""
    account = next(one for one in recorded("keys")["accounts"] if one["name"] == "A")
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, field in (
            ("account.key", "exported_account_key"),
            ("account_proof.key", "exported_account_proof_key"),
        ):
            data = bytes.fromhex(account[field])
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def frames() -> Iterator[bytes]:
    """Every heads message that was recorded whole, as the direct channel carries it."""
    seen = set()
    for event in recorded("heads")["events"]:
        data = event.get("data", "sha256:")
        if event["kind"] == "box" or data.startswith("sha256:"):
            continue
        message = bytes.fromhex(data)
        framed = event["kind"] == "direct_out"  # what came in was recorded behind its length
        frame = message if framed else encode_varint(len(message)) + message
        if frame not in seen:
            seen.add(frame)
            yield frame


async def send_frames(go: GoPeer, peer: str) -> None:
    for frame in frames():
        number = (await go.call("open", peer=peer, protocol=DIRECT))["stream"]
        await go.call("write", stream=number, data=frame.hex())
        await go.event("end", stream=number)
        await go.call("reset", stream=number)


async def test_a_restored_device_gets_its_groups_from_go(program: Path, tmp_path: Path, transport: str) -> None:
    """From the account's keys alone: its groups, every recorded entry of them, and the texts that they let us read."""
    logs = {
        kind: recorded(name)["logs"] for kind, name in ((LogKind.METADATA, "metadata"), (LogKind.MESSAGES, "messages"))
    }
    home = tmp_path / "A"
    create_home(home, "", config=CONFIG, use_keyring=False, archive=read_archive(keys_only(tmp_path / "keys.tar")))
    async with go_peer(program) as go, Node.open(home, config=CONFIG, network=False) as node, joined(node) as exchange:
        for found in logs.values():
            for log in found.values():
                for entry in log["entries"]:
                    put = await go.call("put", data=entry["block"], codec=DAG_CBOR)
                    assert put["cid"] == entry["cid"]
        listen = exchange.node.listen if transport == "tcp" else exchange.node.listen_quic
        address = await listen("127.0.0.1")
        await go.call("connect", addr=str(address))
        peer = str(exchange.node.peer_id)

        async def groups_open() -> bool:
            return len(node.replica.groups) == 4

        async def whole() -> bool:
            return not await node.store.read(lambda: list(lacking(node, logs)))

        await send_frames(go, peer)
        await eventually(groups_open)
        await send_frames(go, peer)  # what came before its group was open was nobody's
        await eventually(whole)
        opened = await node.store.read(lambda: list(readable(node)))
        opened_by = recorded("messages")["opened_by"]
        wanted = [cid for cid, by in opened_by.items() if not by.get("A2", "error").startswith("error")]
        assert len(wanted) > 100
        assert set(wanted) <= set(opened)
        assert exchange.refused == 0


def lacking(node: Node, logs: dict[LogKind, Any]) -> Iterator[str]:
    """Recorded entries of our groups that are not here."""
    for replica in node.replica.groups.values():
        for kind in LogKind:
            found = logs[kind].get(replica.group.address(WESH, kind).text, {"entries": []})
            yield from (one["cid"] for one in found["entries"] if Cid.parse(one["cid"]) not in replica.logs[kind])


def readable(node: Node) -> Iterator[str]:
    """Messages that were opened here; their texts are the recording's own, not Berty's, so their keys tell."""
    for replica in node.replica.groups.values():
        log = replica.logs[LogKind.MESSAGES]
        yield from (str(cid) for cid in log.cids() if node.replica.records.unseal(NOTE + log.key + cid.digest))
