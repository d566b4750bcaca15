"""Taking bundles in: chunks from anywhere, in any order, again and again.

Invariant: an entry takes the same way into its log as one from a session: verified here, and with its parents.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import anyio.to_thread
import attrs

from ...codec.cid import Cid
from ...contracts.bundle import BundleReport, ChunkState
from ...contracts.session import Verified
from ...errors import RemoteProtocolError
from ...ids import DeviceId, GroupId
from ...protocol.bundle import (
    BundleKeys,
    Content,
    Entries,
    Padding,
    Part,
    PartsInWaiting,
    Statement,
    is_for,
    open_chunk,
    who_states,
)
from ...protocol.group import LogKind
from ..replica.effects import DeliveryChanged
from ..replica.group_replica import GroupReplica
from ..replica.lacking import holds
from ..replica.peer_heads import PeerHeld
from ..replica.verification import INLINE, verify_blocks, verify_in_threads

if TYPE_CHECKING:
    from ..node import Node

BATCH = 64  # chunks that are opened, verified and stored together: 1 MiB
MAX_REFUSED = 256
MAX_REFUSED_BYTES = 8 * 1024 * 1024  # of blocks that break the rules, kept until something descends from them


@attrs.define
class _Log:
    """What a batch has for one log: blocks by CID, and which chunks they came in."""

    blocks: dict[Cid, bytes] = attrs.field(factory=dict)
    chunks: dict[int, set[Cid]] = attrs.field(factory=dict)


@attrs.frozen
class _Stored:
    """What became of a log's blocks: how many are new, and which of them were in the log before, and are now."""

    added: int
    refused: int
    before: frozenset[Cid]
    here: frozenset[Cid]


class BundleImport:
    """Takes chunks into one node; parts of large entries wait here between calls."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._parts = PartsInWaiting()
        self._refused_bytes = 0
        self._refused: OrderedDict[Cid, tuple[GroupId, LogKind, bytes]] = OrderedDict()
        self._keys: dict[GroupId, BundleKeys] = {}

    async def take(self, chunks: Sequence[bytes]) -> BundleReport:
        """Take chunks in, and offer those that wait again for as long as that brings something."""
        states: dict[int, ChunkState] = {}
        totals, groups = Counter[str](), Counter[GroupId]()
        pending = list(range(len(chunks)))
        while pending:
            before = totals["entries"]
            for start in range(0, len(pending), BATCH):
                numbers = pending[start : start + BATCH]
                report = await self._take([chunks[number] for number in numbers])
                for number, state in zip(numbers, report.chunks, strict=True):
                    states[number] = _later_state(states.get(number), state)
                first = len(pending) == len(chunks)
                totals.update(
                    entries=report.entries,
                    known=report.known if first else 0,
                    refused=report.refused if first else 0,
                )
                groups.update(report.groups)
            pending = [number for number in pending if states[number] is ChunkState.WAITING]
            if totals["entries"] == before:
                break
        return BundleReport(
            tuple(states[number] for number in range(len(chunks))),
            totals["entries"],
            totals["known"],
            totals["refused"],
            dict(groups),
        )

    async def _take(self, chunks: Sequence[bytes]) -> BundleReport:
        keys = await self._node.store.read(self._read_keys)
        opened = await anyio.to_thread.run_sync(_open_all, keys, chunks)
        states = {number: state for number, (state, _, _) in enumerate(opened)}
        logs: dict[tuple[GroupId, LogKind], _Log] = {}
        statements: list[tuple[int, GroupId, Statement]] = []
        for number, (_, group, content) in enumerate(opened):
            if group is not None and isinstance(content, Statement):
                statements.append((number, group, content))
            elif group is not None and isinstance(content, Entries | Part):
                log = logs.setdefault((group, content.kind), _Log())
                self._collect(log, number, content)
        added, known, refused, groups = 0, 0, 0, Counter[GroupId]()
        for (group, kind), log in logs.items():
            stored = await self._store(group, kind, log)
            added, known, refused = added + stored.added, known + len(stored.before), refused + stored.refused
            groups[group] += stored.added
            states.update({number: _state_of(cids, stored) for number, cids in log.chunks.items()})
        for number, group, statement in statements:
            states[number] = await self._node.store.write(self._take_statement, group, statement)
        return BundleReport(tuple(states.values()), added, known, refused, {g: n for g, n in groups.items() if n})

    def _read_keys(self) -> dict[GroupId, BundleKeys]:
        """The keys of all open groups, on the store's thread."""
        groups = self._node.replica.groups
        self._keys = {
            group_id: self._keys.get(group_id) or BundleKeys.of(replica.group.link_key)
            for group_id, replica in groups.items()
        }
        return dict(self._keys)

    def _collect(self, log: _Log, number: int, content: Entries | Part) -> None:
        """Note the blocks of a chunk, and of a part the block that it completes."""
        blocks: Iterable[bytes]
        if isinstance(content, Part):
            block = self._parts.add(content)
            blocks = [block] if block is not None else []
            log.chunks[number] = {content.cid}
        else:
            blocks = content.blocks
            log.chunks[number] = {Cid.of(block) for block in blocks}
        log.blocks.update((Cid.of(block), block) for block in blocks)

    async def _store(self, group: GroupId, kind: LogKind, log: _Log) -> _Stored:
        wanted = {cid for cids in log.chunks.values() for cid in cids}
        before = frozenset(await self._node.store.read(self._present, group, kind, wanted))
        verified = await self._verify(group, kind, [block for cid, block in log.blocks.items() if cid not in before])
        if not verified.entries and not verified.refused:
            return _Stored(0, 0, before, before)
        return await self._node.store.write(self._receive, group, kind, verified, wanted, before)

    def _present(self, group: GroupId, kind: LogKind, cids: Iterable[Cid]) -> set[Cid]:
        replica = self._node.replica.groups.get(group)
        return {cid for cid in cids if cid in replica.logs[kind]} if replica is not None else set()

    async def _verify(self, group: GroupId, kind: LogKind, blocks: Sequence[bytes]) -> Verified:
        replica = self._node.replica.groups.get(group)
        if replica is None or not blocks:
            return Verified(())
        address, key = replica.logs[kind].address, replica.group.signing_public
        if len(blocks) <= INLINE:
            return verify_blocks(blocks, address, key)
        return await verify_in_threads(blocks, address, key)

    def _receive(
        self, group: GroupId, kind: LogKind, verified: Verified, wanted: Iterable[Cid], before: frozenset[Cid]
    ) -> _Stored:
        """Add verified entries, within a batch."""
        replica = self._node.replica.groups.get(group)
        if replica is None:
            return _Stored(0, 0, frozenset(), frozenset())
        log = replica.logs[kind]
        received = replica.receive(kind, verified.entries)
        for block in verified.refused:
            self._remember_refused(Cid.of(block), (group, kind, block))
        self._refuse(replica)
        here = {cid for cid in wanted if cid in log} | {Cid.of(block) for block in verified.refused}
        return _Stored(len(received.added), len(verified.refused), before, frozenset(here))

    def _remember_refused(self, cid: Cid, place: tuple[GroupId, LogKind, bytes]) -> None:
        if cid in self._refused:
            return
        self._refused[cid] = place
        self._refused_bytes += len(place[2])
        while len(self._refused) > MAX_REFUSED or self._refused_bytes > MAX_REFUSED_BYTES:
            self._refused_bytes -= len(self._refused.popitem(last=False)[1][2])

    def _refuse(self, replica: GroupReplica) -> None:
        """Let entries that descend from a block that breaks the rules go on without it, wherever it came."""
        for group, kind, block in list(self._refused.values()):
            if group == replica.group.id:
                replica.refuse(kind, block)

    def _take_statement(self, group: GroupId, statement: Statement) -> ChunkState:
        """Note what a device holds, and which of our messages that proves to be held, within a batch."""
        replica = self._node.replica.groups.get(group)
        if replica is None:
            return ChunkState.FOREIGN
        try:
            author = who_states(replica.group, statement)
        except RemoteProtocolError:
            return ChunkState.UNREADABLE
        missing = [cid for kind in LogKind for cid in statement.heads[kind] if cid not in replica.logs[kind]]
        if author is None or author.device == replica.device_id:
            return ChunkState.WAITING if missing else ChunkState.KNOWN
        if replica.registers.get("device", author.device) is None:
            return ChunkState.WAITING  # whoever may sign anything: a device of the group is announced in its log
        held = PeerHeld(author.device, statement.heads, wanted=statement.wanted, time=author.time)
        replica.peers.stated(held, lambda kind, cid: cid in replica.logs[kind])
        self._held(replica, author.device, statement.heads[LogKind.MESSAGES])
        if missing:
            return ChunkState.WAITING
        if not replica.live:
            replica.become_live()  # all that this device had is here: what comes from now on is news
        return ChunkState.KNOWN

    def _held(self, replica: GroupReplica, device: DeviceId, heads: Iterable[Cid]) -> None:
        """The device signed that it holds these heads, and so it holds our messages among their ancestors."""
        log = replica.logs[LogKind.MESSAGES]
        here = [cid for cid in heads if log.get(cid) is not None]
        unheld = replica.deliveries.unheld()
        if not here or not unheld:
            return
        for cid in replica.deliveries.held(sorted(holds(log, here, unheld)), device):
            self._node.replica.emit(DeliveryChanged(replica.group.id, cid))

    def gaps(self) -> dict[GroupId, int]:
        """How many entries of each group are known of but not here, at the least; on the store's thread."""
        found = {}
        for group_id, replica in self._node.replica.groups.items():
            named = {(kind, cid) for kind in LogKind for cid in replica.absent(kind)}
            for held in replica.peers.all():
                named |= {(k, cid) for k in LogKind for cid in held.heads[k] if cid not in replica.logs[k]}
            if named:
                found[group_id] = len(named)
        return found


def _open_all(
    keys: Mapping[GroupId, BundleKeys], chunks: Sequence[bytes]
) -> list[tuple[ChunkState, GroupId | None, Content | None]]:
    """Recognise and open chunks; most have the group of the one before."""
    order = list(keys)
    found: list[tuple[ChunkState, GroupId | None, Content | None]] = []
    for chunk in chunks:
        group = next((group for group in order if is_for(keys[group], chunk)), None)
        if group is None:
            found.append((ChunkState.FOREIGN, None, None))
            continue
        order.remove(group)
        order.insert(0, group)
        try:
            content = open_chunk(keys[group], chunk)
        except RemoteProtocolError:
            found.append((ChunkState.UNREADABLE, group, None))
            continue
        found.append((ChunkState.KNOWN if isinstance(content, Padding) else ChunkState.WAITING, group, content))
    return found


def _state_of(cids: set[Cid], stored: _Stored) -> ChunkState:
    if not cids <= stored.here:
        return ChunkState.WAITING
    return ChunkState.KNOWN if cids <= stored.before else ChunkState.NEW


def _later_state(before: ChunkState | None, now: ChunkState) -> ChunkState:
    """What is said of a chunk that was offered again: it brought something, if it waited and does no longer."""
    return ChunkState.NEW if before is ChunkState.WAITING and now is ChunkState.KNOWN else now
