"""Writing bundles: which groups, what their readers lack, and the chunks of it (docs/reference/bundle.md).

Invariant: what a bundle states to be held was synchronised to the disk before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import attrs

from ...codec.cid import DAG_CBOR, Cid
from ...codec.dagcbor import decode_dagcbor, encode_dagcbor
from ...crypto.boxes import NONCE_LENGTH
from ...errors import UserError
from ...ids import DeviceId, GroupId
from ...protocol.bundle import (
    CHUNK,
    BundleKeys,
    Entries,
    Part,
    pack_blocks,
    padded_count,
    padding_step,
    seal_entries,
    seal_padding,
    seal_part,
    seal_statement,
)
from ...protocol.group import GroupKind, LogKind
from ..replica.group_replica import GroupReplica
from ..replica.lacking import lacking
from ..replica.replica import Replica

if TYPE_CHECKING:
    from ..node import Node

PAGE_BYTES = 128 * 1024  # of blocks that are read at once
SMALLEST_QUOTA = padded_count(1) * CHUNK
MAX_GIVEN = 4096  # ends of what was written last, which `since_last` goes on from
ACCOUNT_NAME = "(your own devices)"


@attrs.frozen
class BundleWish:
    """What is to be written: names or ids of groups and contacts, and since when."""

    groups: tuple[GroupId | str, ...] = ()  # none: all of them
    reader: str = ""  # only for this person: the group with the contact, and groups with a member of this name
    whole: bool = False  # also what everybody has
    since_last: bool = False  # also without what was written the last time, whether it arrived or not


@attrs.frozen
class GroupShare:
    """What a bundle has for one group. `told` of its readers said what they hold, and `silent` ones never did."""

    group: GroupId
    name: str
    entries: int
    told: int
    silent: int
    cids: dict[LogKind, list[Cid]] = attrs.field(repr=False)
    statement: bytes = attrs.field(repr=False)
    keys: BundleKeys = attrs.field(repr=False)
    given: dict[LogKind, frozenset[Cid]] = attrs.field(repr=False)


class BundleExport:
    """Chunks to be written: iterate once, then `confirm` when they are safe where they went."""

    def __init__(self, node: Node, shares: Sequence[GroupShare], quota: int | None) -> None:
        if quota is not None and quota < SMALLEST_QUOTA:
            raise UserError(f"a quota of {quota} bytes is too small: the smallest bundle has {SMALLEST_QUOTA}")
        self.shares = tuple(shares)
        self._node = node
        self._limit = _fitting(quota // CHUNK) if quota is not None else None
        self._courses = [_Course(share) for share in shares]
        self.chunks = 0

    @property
    def entries(self) -> int:
        """How many entries were written so far."""
        return sum(course.written for course in self._courses)

    @property
    def left_out(self) -> int:
        """How many entries were not written, for want of room."""
        return sum(share.entries for share in self.shares) - self.entries

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Each chunk, `CHUNK` bytes: statements first, then the logs from their beginning, groups in turn."""
        for share in self.shares:
            if self._is_full():
                return
            self.chunks += 1
            yield share.statement
        waiting = list(self._courses)
        while waiting and not self._is_full():
            course = waiting.pop(0)
            async for chunk in self._page(course):
                yield chunk
            if not course.is_done:
                waiting.append(course)
        for _ in range(padded_count(self.chunks) - self.chunks if self.chunks else 0):
            self.chunks += 1
            yield seal_padding(self.shares[-1].keys, self._nonce())

    async def _page(self, course: _Course) -> AsyncIterator[bytes]:
        """The chunks of one page of a group's log, as far as there is room."""
        blocks = await self._node.store.read(course.read, self._node.replica)
        for content in course.pack(blocks):
            if self._is_full():
                return
            self.chunks += 1
            if isinstance(content, Part):
                yield seal_part(course.share.keys, self._nonce(), content)
            else:
                yield seal_entries(course.share.keys, self._nonce(), content.kind, content.blocks)
            course.was_written(content)

    def _is_full(self) -> bool:
        return self._limit is not None and self.chunks >= self._limit

    def _nonce(self) -> bytes:
        return self._node.entropy(NONCE_LENGTH)

    async def confirm(self) -> None:
        """Note that everything that was written is safe, so that `since_last` goes on behind it."""
        await self._node.store.write(self._confirm)

    def _confirm(self) -> None:
        for course in self._courses:
            ends = [[cid.digest for cid in sorted(course.ends[kind])[:MAX_GIVEN]] for kind in LogKind]
            self._node.replica.put_setting(_given_name(course.share.group), encode_dagcbor(ends))


class _Course:
    """How far one group has been written."""

    def __init__(self, share: GroupShare) -> None:
        self.share = share
        self.written = 0
        self.ends = {kind: set(cids) for kind, cids in share.given.items()}
        self._queue = [(kind, cid) for kind in LogKind for cid in share.cids[kind]]
        self._next = 0
        self._kind = LogKind.METADATA
        self._rest: tuple[bytes, ...] = ()  # of the last page: they did not fill a chunk
        self._parents: dict[Cid, tuple[Cid, ...]] = {}

    @property
    def is_done(self) -> bool:
        """Whether everything was given out."""
        return self._next == len(self._queue) and not self._rest

    def read(self, replica: Replica) -> list[bytes]:
        """The next blocks of one log, on the store's thread; a group that was closed meanwhile has none."""
        group, blocks, size = replica.groups.get(self.share.group), list[bytes](), 0
        while self._next < len(self._queue) and size < PAGE_BYTES:
            kind, cid = self._queue[self._next]
            if kind is not self._kind and (blocks or self._rest):
                break
            self._kind = kind
            self._next += 1
            block = group.logs[kind].block(cid) if group is not None else None
            if group is not None and block is not None:
                stored = group.logs[kind].get(cid)
                self._parents[cid] = stored.entry.next if stored is not None else ()
                blocks.append(block)
                size += len(block)
        return blocks

    def pack(self, blocks: list[bytes]) -> Iterator[Entries | Part]:
        """The contents of a page; what does not fill a chunk waits for the next page of the same log."""
        more = self._next < len(self._queue) and self._queue[self._next][0] is self._kind
        contents = list(pack_blocks(self._kind, [*self._rest, *blocks]))
        self._rest = ()
        if more and contents and isinstance(last := contents[-1], Entries):
            self._rest = last.blocks
            contents.pop()
        yield from contents

    def was_written(self, content: Entries | Part) -> None:
        """Count a content, and move the ends of what was written."""
        if isinstance(content, Part):
            written = [content.cid] if content.offset + len(content.data) == content.size else []
        else:
            written = [Cid.of(block) for block in content.blocks]
        self.written += len(written)
        for cid in written:
            self.ends[content.kind].difference_update(self._parents.pop(cid, ()))
            self.ends[content.kind].add(cid)


def plan(node: Node, wish: BundleWish) -> list[GroupShare]:
    """What a bundle would hold, on the store's thread."""
    groups = _chosen(node, wish)
    return [_share(node, group, wish) for group in groups]


def plan_durably(node: Node, wish: BundleWish) -> list[GroupShare]:
    """The same within a batch: its commit is synchronised, and with it all that the statements name."""
    node.replica.put_setting("bundle planned", int(node.replica.now()).to_bytes(8, "big"))
    return plan(node, wish)


def _chosen(node: Node, wish: BundleWish) -> list[GroupReplica]:
    """The groups that are wished for; UserError where there are none."""
    groups = node.replica.groups
    if wish.groups:
        named = [
            groups.get(name) if isinstance(name, GroupId) else node.actions.find_group(name) for name in wish.groups
        ]
        chosen = [group for group in dict.fromkeys(named) if group is not None]
    else:
        chosen = list(groups.values())
    if wish.reader:
        chosen = [group for group in chosen if _devices_of(node, group, wish.reader)]
        if not chosen:
            raise UserError(
                f"there is no contact and no member {wish.reader!r} in these groups: "
                "`berty contact list` and `berty group show` name them"
            )
    if not chosen:
        raise UserError("this group is not open on this device")
    return chosen


def _devices_of(node: Node, group: GroupReplica, person: str) -> list[DeviceId]:
    """The devices of whoever has this name in a group, by our own name for a contact, else by the member's."""
    theirs = [device for device in group.devices() if not group.is_mine(device)]
    if group.contact is not None:
        fits = node.actions.alias(group.contact).casefold() == person.casefold()
        return (theirs or [DeviceId(group.contact)]) if fits else []
    return [device for device in theirs if group.name_of(device).casefold() == person.casefold()]


def _share(node: Node, group: GroupReplica, wish: BundleWish) -> GroupShare:
    told, silent = _readers(node, group, wish.reader)
    given = _given(node.replica, group.group.id) if wish.since_last else {kind: frozenset[Cid]() for kind in LogKind}
    cids = {kind: lacking(group.logs[kind], _held(group, kind, told, silent, wish, given[kind])) for kind in LogKind}
    keys = BundleKeys.of(group.group.link_key)
    statement = seal_statement(
        keys,
        node.entropy(NONCE_LENGTH),
        group.group,
        group.device,
        {kind: _newest_first(group, kind) for kind in LogKind},
        {kind: group.absent(kind) for kind in LogKind},
        int(node.replica.now() * 1000),
    )
    name = ACCOUNT_NAME if group.group.kind is GroupKind.ACCOUNT else node.actions.conversation_name(group)
    entries = sum(map(len, cids.values()))
    return GroupShare(group.group.id, name, entries, len(told), len(silent), cids, statement, keys, given)


def _readers(node: Node, group: GroupReplica, person: str) -> tuple[list[DeviceId], list[DeviceId]]:
    """Those who are written for: devices that said what they hold, and those that never did.

    Of one person the silent devices do not count while others speak: the person carries it further.
    """
    if person:
        devices = _devices_of(node, group, person)
    elif group.group.kind is GroupKind.ACCOUNT:
        devices = [device for device in group.devices() if device != group.device_id]
    else:
        devices = [device for device in group.devices() if not group.is_mine(device)]
    told = [device for device in devices if group.peers.get(device) is not None]
    return told, [] if person and told else [device for device in devices if device not in told]


def _held(
    group: GroupReplica,
    kind: LogKind,
    told: Iterable[DeviceId],
    silent: Collection[DeviceId],
    wish: BundleWish,
    given: frozenset[Cid],
) -> list[frozenset[Cid]]:
    """What each reader holds, for `lacking`; a silent one holds nothing."""
    if wish.whole:
        return []
    if given:
        return [given]
    known = [held.held(kind) for device in told if (held := group.peers.get(device)) is not None]
    return [] if silent else known


def _newest_first(group: GroupReplica, kind: LogKind) -> list[Cid]:
    heads = group.logs[kind].heads
    return sorted(heads, key=lambda cid: (heads[cid], cid), reverse=True)


def _given_name(group: GroupId) -> str:
    return f"bundle given {group.hex()}"


def _given(replica: Replica, group: GroupId) -> dict[LogKind, frozenset[Cid]]:
    """The ends of what was written last."""
    stored = replica.setting(_given_name(group))
    if stored is None:
        return {kind: frozenset() for kind in LogKind}
    lists = decode_dagcbor(bytes(stored))
    return {
        kind: frozenset(Cid(DAG_CBOR + digest) for digest in digests)
        for kind, digests in zip(LogKind, lists, strict=True)
    }


def _fitting(chunks: int) -> int:
    """The greatest number of chunks that needs no padding and is within so many."""
    return chunks // padding_step(chunks) * padding_step(chunks)
