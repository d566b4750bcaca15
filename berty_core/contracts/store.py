"""The contract of a store: ordered keys and values, written in atomic batches.

All meaning (logs, indexes, sealing) lies above it, so any ordered key-value store can be one.
What reaches a store is sealed already, but for CIDs, sizes, times and group ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

MAX_KEY = 512
MAX_VALUE = 8 * 1024 * 1024


class Store(Protocol):
    """Keys up to 512 bytes in bytewise order, values up to 8 MiB.

    Calls never overlap, but need not all come from one thread. Every failure is a `StoreError`
    and leaves what is stored as it was before the call.
    """

    def commit(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes] = (), *, durable: bool) -> None:
        """Write all or nothing; a key in both is put. `durable`: this and all earlier commits survive a power cut."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """Pairs with start <= key < stop in order of key (or against it), at most `limit`."""

    def close(self) -> None:
        """Release everything; idempotent."""


class StoreSpec(Protocol):
    """How a store plugin is found and opened."""

    name: str

    def open(self, directory: Path) -> Store:
        """Open or create the store in `directory` (private to the user); StoreLocked, StoreCorrupt, StoreTooNew."""
