"""A store in memory that can lose power and run full. Invariant: a crash keeps all that was durable, and no more."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping

from ..contracts.store import MAX_KEY, MAX_VALUE
from ..errors import StoreError, StoreFull

_Before = dict[bytes, bytes | None]


class MemoryStore:
    """The `Store` contract without a disk, for tests of what lies above it: quick up to some 100,000 keys.

    `crash()` is a power cut, `reopen()` a clean restart, `fail_after()` a full disk.
    """

    def __init__(self, records: Mapping[bytes, bytes] | None = None) -> None:
        self._records = dict(records or {})
        self._keys = sorted(self._records)
        self._unsynced: list[_Before] = []  # what each commit since the last durable one replaced
        self._failures: dict[int, StoreError] = {}
        self._commits = 0
        self._closed = False

    def commit(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes] = (), *, durable: bool) -> None:
        """Write all or nothing; without `durable`, a `crash()` takes it back."""
        self._check_open()
        changes: dict[bytes, bytes | None] = dict.fromkeys(deletes)
        changes.update(puts)
        _check_sizes(puts)
        self._commits += 1
        failure = self._failures.pop(self._commits, None)
        if failure is not None:
            raise failure
        self._unsynced.append({key: self._records.get(key) for key in changes})
        self._write(changes)
        if durable:
            self._unsynced.clear()

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        self._check_open()
        return self._records.get(key)

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """Pairs with start <= key < stop in order of key (or against it), at most `limit`."""
        self._check_open()
        low, high = bisect_left(self._keys, start), bisect_left(self._keys, stop)
        count = max(high - low, 0) if limit is None else min(max(high - low, 0), limit)
        keys = self._keys[high - count : high][::-1] if reverse else self._keys[low : low + count]
        return [(key, self._records[key]) for key in keys]

    def close(self) -> None:
        """Refuse every later call but `close`, `crash` and `reopen`."""
        self._closed = True

    def crash(self) -> MemoryStore:
        """Cut the power: close this store and return one that lost every commit after the last durable one."""
        self.close()
        survivor = MemoryStore(self._records)
        for before in reversed(self._unsynced):
            survivor._write(before)
        return survivor

    def reopen(self) -> MemoryStore:
        """End cleanly and start again: close this store and return one with all of its commits."""
        self.close()
        return MemoryStore(self._records)

    def fail_after(self, commits: int, error: StoreError | None = None) -> None:
        """Let the commit `commits` from now (1: the next) raise `error` (default StoreFull) and change nothing."""
        failure = error or StoreFull("no room left: a test asked for it")
        self._failures[self._commits + commits] = failure

    def _write(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self._remove(key)
                continue
            if key not in self._records:
                self._insert(key)
            self._records[key] = value

    def _insert(self, key: bytes) -> None:
        if not self._keys or key > self._keys[-1]:
            self._keys.append(key)  # most keys come in order
        else:
            insort(self._keys, key)

    def _remove(self, key: bytes) -> None:
        if self._records.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed: open it again")


def _check_sizes(puts: Mapping[bytes, bytes]) -> None:
    for key, value in puts.items():
        if len(key) > MAX_KEY or len(value) > MAX_VALUE:
            raise StoreError(
                f"a record of {len(key)} + {len(value)} bytes: a store takes keys of at most {MAX_KEY}"
                f" and values of at most {MAX_VALUE}"
            )
