"""The reduced state of one group: a sealed record for each register, written with the event that sets it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...codec.dagcbor import decode_dagcbor, encode_dagcbor
from ...ids import GroupId
from ...protocol.log import Position
from ...protocol.metadata import Register
from .records import REGISTER, Records

Name = tuple[str, tuple[bytes, ...]]


class StoredRegisters:
    """The registers of a group: in memory for reading, whose size follows members and contacts, not history."""

    def __init__(self, records: Records, group: GroupId) -> None:
        self._records = records
        self._prefix = REGISTER + group
        self._values: dict[Name, tuple[bytes, bytes]] = {}
        self.reload()

    def reload(self) -> None:
        """Read everything again from the store."""
        self._values = {}
        for key, sealed in self._records.scan(self._prefix):
            kind, keys, order, value = decode_dagcbor(self._records.vault.unseal(key, sealed))
            self._values[kind, tuple(keys)] = (order, value)

    def apply(self, position: Position, registers: Iterable[Register]) -> frozenset[str]:
        """Let an event write its registers where it is newer than what they hold; the kinds that changed."""
        order = position.pack()
        changed = set()
        for register in registers:
            known = self._values.get(register.name)
            if known is not None and known[0] >= order:
                continue
            self._values[register.name] = (order, register.value)
            self._write(register, order)
            changed.add(register.kind)
        return frozenset(changed)

    def _write(self, register: Register, order: bytes) -> None:
        keys = [bytes(key) for key in register.keys]
        name = encode_dagcbor([register.kind, keys])
        key = self._prefix + self._records.vault.blind(name)
        value = encode_dagcbor([register.kind, keys, order, bytes(register.value)])
        self._records.put(key, self._records.vault.seal(key, value))

    def get(self, kind: str, *keys: bytes) -> bytes | None:
        """The value of one register, or None."""
        found = self._values.get((kind, keys))
        return found[1] if found else None

    def position(self, kind: str, *keys: bytes) -> Position | None:
        """Where the event stands that set a register."""
        found = self._values.get((kind, keys))
        return Position.unpack(found[0]) if found else None

    def items(self, kind: str) -> Iterator[tuple[tuple[bytes, ...], bytes]]:
        """All registers of a kind: (keys, value)."""
        return ((keys, value) for (own, keys), (_, value) in list(self._values.items()) if own == kind)
