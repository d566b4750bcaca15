"""What other devices of a group are known to hold: heads that they stated, or had when a session was in step.

Invariant: only what a device proved is kept, and to know too little costs bytes, never an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs

from ...codec.cid import DAG_CBOR, Cid
from ...codec.dagcbor import decode_dagcbor, encode_dagcbor
from ...ids import DeviceId, GroupId
from ...protocol.group import LogKind
from .records import PEER, Records

MAX_HEADS = 96  # of each log and list; more of them would only save bytes
Cids = Mapping[LogKind, tuple[Cid, ...]]
NOTHING: Cids = {kind: () for kind in LogKind}


@attrs.frozen
class PeerHeld:
    """What one device said last. `earlier` still counts while some of `heads` are not here."""

    device: DeviceId
    heads: Cids
    earlier: Cids = NOTHING
    wanted: Cids = NOTHING
    time: int = 0  # of its last statement, by its own clock (Unix milliseconds)

    def held(self, kind: LogKind) -> frozenset[Cid]:
        """Entries of a log that it holds, and with them their ancestors."""
        return frozenset(self.heads[kind] + self.earlier[kind])


class PeerHeads:
    """The devices of one group that said what they hold. Everything here runs on the store's thread."""

    def __init__(self, records: Records, group: GroupId) -> None:
        self._records = records
        self._prefix = PEER + group

    def get(self, device: DeviceId) -> PeerHeld | None:
        """What a device said, or None."""
        value = self._records.unseal(self._key(device))
        return _decode(bytes(value)) if value is not None else None

    def all(self) -> list[PeerHeld]:
        """All that said anything."""
        keys = [key for key, _ in self._records.scan(self._prefix)]
        return [_decode(bytes(value)) for key in keys if (value := self._records.unseal(key)) is not None]

    def in_step(self, device: DeviceId, kind: LogKind, heads: Iterable[Cid]) -> None:
        """A live session found one log equal to ours, within a transaction."""
        known = self.get(device) or PeerHeld(device, NOTHING)
        self._put(
            PeerHeld(
                device,
                {**known.heads, kind: tuple(sorted(heads)[:MAX_HEADS])},
                {**known.earlier, kind: ()},
                {**known.wanted, kind: ()},
                known.time,
            )
        )

    def stated(self, held: PeerHeld, is_here: Callable[[LogKind, Cid], bool]) -> None:
        """A device stated what it holds, within a transaction; its earlier word counts until we have all of it.

        An older statement, which may come again by any way, is passed over; a later one counts also if it has less.
        """
        known = self.get(held.device) or PeerHeld(held.device, NOTHING)
        if held.time < known.time:
            return
        earlier = {
            kind: () if all(is_here(kind, cid) for cid in held.heads[kind]) else _here(known, kind, is_here)
            for kind in LogKind
        }
        self._put(PeerHeld(held.device, _cut(held.heads), earlier, _cut(held.wanted), held.time))

    def _put(self, held: PeerHeld) -> None:
        if held == self.get(held.device):
            return
        lists = [
            [cid.digest for cid in cids[kind]] for cids in (held.heads, held.earlier, held.wanted) for kind in LogKind
        ]
        key = self._key(held.device)
        self._records.put(key, self._records.vault.seal(key, encode_dagcbor([bytes(held.device), held.time, *lists])))

    def _key(self, device: DeviceId) -> bytes:
        return self._prefix + self._records.vault.blind(device)


def _here(known: PeerHeld, kind: LogKind, is_here: Callable[[LogKind, Cid], bool]) -> tuple[Cid, ...]:
    return tuple(sorted(cid for cid in known.held(kind) if is_here(kind, cid))[:MAX_HEADS])


def _cut(cids: Cids) -> Cids:
    return {kind: tuple(sorted(set(cids[kind]))[:MAX_HEADS]) for kind in LogKind}


def _decode(value: bytes) -> PeerHeld:
    device, time, *lists = decode_dagcbor(value)
    cids = [tuple(Cid(DAG_CBOR + digest) for digest in digests) for digests in lists]
    heads, earlier, wanted = (dict(zip(LogKind, cids[start : start + 2], strict=True)) for start in (0, 2, 4))
    return PeerHeld(DeviceId(device), heads, earlier, wanted, time)
