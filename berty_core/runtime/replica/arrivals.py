"""The order in which messages became readable here, over all groups: what cursors count."""

from __future__ import annotations

import attrs

from ...codec.cid import DAG_CBOR, Cid
from ...ids import GroupId
from ...protocol.group import LogKind
from .records import ARRIVAL, Records


@attrs.frozen
class Arrival:
    """One message that became readable; `late` if newer ones of its group were here already."""

    number: int
    group: GroupId
    kind: LogKind
    cid: Cid
    late: bool


class Arrivals:
    """Numbered from 1; a number is never used twice."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.last = 0
        self.reload()

    def reload(self) -> None:
        """Read the last number again, after a commit that failed."""
        newest = self._records.store.scan(ARRIVAL, ARRIVAL + b"\xff" * 9, reverse=True, limit=1)
        self.last = int.from_bytes(newest[0][0][1:], "big") if newest else 0

    def add(self, group: GroupId, kind: LogKind, cid: Cid, late: bool) -> int:
        """Number a message, within a transaction."""
        self.last += 1
        value = bytes([kind, late]) + group + cid.digest
        self._records.put(ARRIVAL + self.last.to_bytes(8, "big"), value)
        return self.last

    def after(self, number: int, limit: int) -> list[Arrival]:
        """The next arrivals behind a number."""
        start = ARRIVAL + (number + 1).to_bytes(8, "big")
        return [
            _decode(key, value) for key, value in self._records.store.scan(start, ARRIVAL + b"\xff" * 9, limit=limit)
        ]


def _decode(key: bytes, value: bytes) -> Arrival:
    return Arrival(
        int.from_bytes(key[1:], "big"),
        GroupId(value[2:34]),
        LogKind(value[0]),
        Cid(DAG_CBOR + value[34:66]),
        bool(value[1]),
    )
