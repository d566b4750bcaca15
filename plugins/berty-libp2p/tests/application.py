"""What stands above a host in these tests, and how to wait for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

import anyio
import anyio.lowlevel
from berty_libp2p import bitswap, gossip
from berty_libp2p.peers import PeerId

from berty_core.codec.cid import RAW, Cid


class Application:
    """It keeps blocks, and notes what it is told."""

    def __init__(self) -> None:
        self.blocks: dict[Cid, bytes] = {}
        self.messages: list[tuple[str, bytes, PeerId]] = []
        self.joined: set[tuple[str, PeerId]] = set()
        self.fetched: dict[Cid, bytes] = {}
        self.missing: set[Cid] = set()
        self.changed = anyio.Event()

    def put(self, block: bytes) -> Cid:
        cid = Cid(RAW + hashlib.sha256(block).digest())
        self.blocks[cid] = block
        return cid

    async def read(self, cids: Iterable[Cid]) -> Mapping[Cid, bytes]:
        await anyio.lowlevel.checkpoint()
        return {cid: self.blocks[cid] for cid in cids if cid in self.blocks}

    def peer_changed(self, peer: PeerId) -> None:
        self._tell()

    def gossip(self, event: gossip.Event) -> None:
        if isinstance(event, gossip.Received):
            self.messages.append((event.message.topic, event.message.data, event.message.author))
        elif isinstance(event, gossip.Joined):
            self.joined.add((event.topic, event.peer))
        else:
            self.joined.discard((event.topic, event.peer))
        self._tell()

    def block(self, event: bitswap.Event) -> None:
        if isinstance(event, bitswap.BlockFetched):
            self.fetched[event.cid] = event.block
        else:
            self.missing.add(event.cid)
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


async def until(application: Application, condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait until a condition holds that changes with what the application is told."""
    with anyio.fail_after(seconds):
        while not condition():
            await application.changed.wait()
