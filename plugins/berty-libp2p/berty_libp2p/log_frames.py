"""Heads messages of many logs: which log a frame is for, what it holds, and the frames that we send.

Frames of neighbouring periods and of the static one are understood, and a peer is answered in the period that it used
(Wesh protocol, section 6.2). Invariant: a frame is opened with the key of the log that its rotation names, no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import attrs

from berty_core.contracts.session import Log
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.ids import DeviceId
from berty_core.protocol.entry import decode_entry
from berty_core.protocol.heads import Heads, entry_of, head_of, open_heads, parse_heads, raw_rotation, seal_heads
from berty_core.protocol.rendezvous import period_start

from .peers import PeerId

DAY: Final = 86400
DAYS_BACK: Final = 3
GOSSIP_BYTES: Final = 512 * 1024  # of blocks; a frame has about 1.4 times as many, and pubsub takes a MiB
DIRECT_BYTES: Final = 2 * 1024 * 1024
FRAME_HEADS: Final = 500


@attrs.frozen
class Frame:
    """What a peer says of a log: blocks that hash to what they claim, in its order. Signatures are not checked yet.

    Whoever has the log's link key can name any `device` and any `peer_id` (binary).
    """

    log: Log
    rotation: bytes
    blocks: tuple[bytes, ...] = attrs.field(repr=False)
    device: DeviceId | None = None
    peer_id: bytes = b""


class LogFrames:
    """The logs that we follow, by topic and by rotation."""

    def __init__(self, peer_id: PeerId, rotation: int, entropy: Callable[[int], bytes]) -> None:
        self.by_address: dict[str, Log] = {}
        self._peer_id = peer_id
        self._rotation = rotation
        self._entropy = entropy
        self._by_rotation: dict[bytes, Log] = {}
        self._day = -1

    def follow(self, logs: Iterable[Log], now: float) -> tuple[set[str], set[str]]:
        """Follow these logs and no others; the addresses that are new, and those that are gone."""
        before = self.by_address.keys()
        after = {log.address: log for log in logs}
        new, gone = after.keys() - before, before - after.keys()
        self.by_address = after
        self._index(now)
        return new, gone

    def read(self, data: bytes, now: float) -> Frame | None:
        """Open a frame; None if it is for no log of ours, RemoteProtocolError if it is malformed."""
        sealed = parse_heads(data)
        if int(now // DAY) != self._day:
            self._index(now)
        log = self._by_rotation.get(sealed.raw_rotation)
        heads = open_heads(sealed, log.link_key) if log else None
        if log is None or heads is None:
            return None
        if heads.address != log.address:
            raise RemoteProtocolError("a heads message for one log that names another")
        blocks = tuple(entry_of(head)[1] for head in heads.heads)
        return Frame(log, sealed.raw_rotation, blocks, heads.device, heads.peer_id)

    def out_of_time(self, data: bytes, logs: Iterable[Log]) -> Log | None:
        """Which of these logs a frame is for that no rotation of ours names; None for none, or what is no frame."""
        try:
            sealed = parse_heads(data)
            if sealed.raw_rotation in self._by_rotation:
                return None
            return next((log for log in logs if open_heads(sealed, log.link_key) is not None), None)
        except RemoteProtocolError:
            return None

    def write(self, log: Log, blocks: Iterable[bytes], now: float, rotation: bytes = b"") -> bytes:
        """A frame that brings these entries, oldest first; `rotation` of a peer's frame, or today's."""
        heads = tuple(head_of(decode_entry(block)) for block in blocks)
        rotation = rotation or raw_rotation(log.address, log.link_key, period_start(now, self._rotation))
        return seal_heads(
            Heads(log.address, heads, log.device, bytes(self._peer_id)), log.link_key, rotation, self._entropy(24)
        )

    def pack(
        self, log: Log, blocks: Iterable[bytes], size: int, now: float, rotation: bytes = b""
    ) -> Iterator[tuple[list[bytes], bytes]]:
        """Runs of entries of about `size` bytes, each with its frame; none at all is one empty frame.

        An entry that unfolds in JSON beyond what a frame may hold is left out: who wants it asks for its block.
        """
        empty = True
        for portion in portions(blocks, size):
            for run in (portion, *([block] for block in portion)):
                try:
                    data = self.write(log, run, now, rotation)
                except LocalProtocolError:
                    continue
                empty = False
                yield run, data
                if run is portion:
                    break
        if empty:
            yield [], self.write(log, [], now, rotation)

    def _index(self, now: float) -> None:
        self._day = int(now // DAY)
        starts = {0, period_start(now, self._rotation)}
        starts |= {max(0, self._day + offset) * DAY for offset in range(-DAYS_BACK, 2)}
        self._by_rotation = {
            raw_rotation(address, log.link_key, start): log
            for address, log in self.by_address.items()
            for start in starts
        }


def portions(blocks: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    """Cut blocks into runs that one frame takes; one block alone may be larger than `size`."""
    portion: list[bytes] = []
    total = 0
    for block in blocks:
        if portion and (total + len(block) > size or len(portion) >= FRAME_HEADS):
            yield portion
            portion, total = [], 0
        portion.append(block)
        total += len(block)
    if portion:
        yield portion
