"""The suite against stores that are broken on purpose: each must fail the one rule that it breaks, and no other."""

from __future__ import annotations

import fcntl
import pickle
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from berty_core.contracts.store import Store
from berty_core.errors import StoreError, StoreLocked
from berty_core.testing.conformance import check_rule, run_suite
from berty_core.testing.memory_store import MemoryStore
from berty_core.testing.rules import NotApplicable, RuleBroken
from berty_core.testing.store_suite import StoreSuite, rules

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "store-contract.md"

Pairs = list[tuple[bytes, bytes]]


class KeepsFirstValue(MemoryStore):
    """Breaks rule 1."""

    def commit(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes] = (), *, durable: bool) -> None:
        super().commit(
            {**puts, **{key: self._records[key] for key in puts if key in self._records}}, deletes, durable=durable
        )


class MissingIsAnError(MemoryStore):
    """Breaks rule 2."""

    def get(self, key: bytes) -> bytes | None:
        value = super().get(key)
        if value is None:
            raise KeyError(key)
        return value


class ShortKeysFirst(MemoryStore):
    """Breaks rule 3."""

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None) -> Pairs:
        found = sorted(super().scan(start, stop), key=lambda pair: (len(pair[0]), pair[0]), reverse=reverse)
        return found[:limit]


class IncludesStop(MemoryStore):
    """Breaks rule 4."""

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None) -> Pairs:
        return super().scan(start, stop + b"\x00", reverse=reverse, limit=limit)


class ExcludesStart(MemoryStore):
    """Breaks rule 4."""

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None) -> Pairs:
        return super().scan(start + b"\x00", stop, reverse=reverse, limit=limit)


class NeverReverses(MemoryStore):
    """Breaks rule 5."""

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None) -> Pairs:
        return super().scan(start, stop, limit=limit)


class IgnoresLimit(MemoryStore):
    """Breaks rule 6."""

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None) -> Pairs:
        return super().scan(start, stop, reverse=reverse)


class LimitsBeforeReversing(MemoryStore):
    """Breaks rule 6."""

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None) -> Pairs:
        found = super().scan(start, stop, limit=limit)
        return found[::-1] if reverse else found


class ZeroMeansNoLimit(MemoryStore):
    """Breaks rule 6."""

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None) -> Pairs:
        return super().scan(start, stop, reverse=reverse, limit=limit or None)


class TextKeys(MemoryStore):
    """Breaks rule 7."""

    def get(self, key: bytes) -> bytes | None:
        return super().get(key.rstrip(b"\x00") if len(key) < 8 else key)


class EmptyIsMissing(MemoryStore):
    """Breaks rule 8."""

    def get(self, key: bytes) -> bytes | None:
        return super().get(key) or None


class LosesDeletes(MemoryStore):
    """Breaks rule 9."""

    def commit(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes] = (), *, durable: bool) -> None:
        super().commit(puts, durable=durable)


class ReadsDeletesTwice(MemoryStore):
    """Breaks rule 9."""

    def commit(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes] = (), *, durable: bool) -> None:
        any(key == b"" for key in deletes)
        super().commit(puts, deletes, durable=durable)


class DeletesWin(MemoryStore):
    """Breaks rule 10."""

    def commit(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes] = (), *, durable: bool) -> None:
        gone = list(deletes)
        super().commit({key: value for key, value in puts.items() if key not in gone}, gone, durable=durable)


class OneByOne(MemoryStore):
    """Breaks rule 11."""

    def commit(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes] = (), *, durable: bool) -> None:
        super().commit({}, deletes, durable=durable)
        for key, value in puts.items():
            super().commit({key: value}, durable=durable)


class CutsLongKeys(MemoryStore):
    """Breaks rule 12."""

    def commit(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes] = (), *, durable: bool) -> None:
        super().commit({key[:512]: value for key, value in puts.items()}, deletes, durable=durable)


class CutsLongValues(MemoryStore):
    """Breaks rule 13."""

    def commit(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes] = (), *, durable: bool) -> None:
        super().commit({key: value[: 8 << 20] for key, value in puts.items()}, deletes, durable=durable)


class LiveResults(MemoryStore):
    """Breaks rule 14."""

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None) -> Pairs:
        self._last: Pairs = super().scan(start, stop, reverse=reverse, limit=limit)
        return self._last

    def commit(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes] = (), *, durable: bool) -> None:
        super().commit(puts, deletes, durable=durable)
        last = getattr(self, "_last", [])
        last[:] = self.scan(b"", b"\xff" * 513)


class RoomForThousands(MemoryStore):
    """Breaks rule 15."""

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None) -> Pairs:
        return super().scan(start, stop, reverse=reverse, limit=4096 if limit is None else limit)


class ForgetsOnClose(MemoryStore):
    """Breaks rule 16."""

    def reopen(self) -> MemoryStore:
        return type(self)()


class ForgetsCheapCommits(MemoryStore):
    """Breaks rule 16."""

    def reopen(self) -> MemoryStore:
        return self.crash()


class ClosesOnce(MemoryStore):
    """Breaks rule 17."""

    def close(self) -> None:
        self._check_open()
        super().close()

    def reopen(self) -> MemoryStore:
        return MemoryStore(self._records)


class ReadsAfterClose(MemoryStore):
    """Breaks rule 18."""

    def get(self, key: bytes) -> bytes | None:
        return self._records.get(key)


class OneThread(MemoryStore):
    """Breaks rule 19."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def _check_open(self) -> None:
        super()._check_open()
        if self._thread != threading.get_ident():
            raise StoreError("called from another thread")


class FileStore(MemoryStore):
    """A sound store that survives a kill: all records in one file, replaced by each commit, and a lock beside it."""

    locks = True
    saves = True

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.file = directory / "records"
        self.lock = (directory / "lock").open("w")
        if self.locks:
            self._take_lock()
        super().__init__(pickle.loads(self.file.read_bytes()) if self.file.exists() else {})  # noqa: S301

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.lock.close()
            raise StoreLocked("another process has it") from error

    def commit(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes] = (), *, durable: bool) -> None:
        super().commit(puts, deletes, durable=durable)
        if self.saves:
            self._save()

    def _save(self) -> None:
        fresh = self.file.with_name("fresh")
        fresh.write_bytes(pickle.dumps(self._records))
        fresh.replace(self.file)

    def close(self) -> None:
        if not self.lock.closed:
            self._save()
        self.lock.close()
        super().close()


class SavesAtClose(FileStore):
    """Breaks rule 20."""

    saves = False


class SavesInPart(FileStore):
    """Breaks rule 20: a commit is saved but for one of its records."""

    def commit(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes] = (), *, durable: bool) -> None:
        super().commit(puts, deletes, durable=durable)
        self._records.pop(b"000000-07", None)
        self._save()


class TakesNoLock(FileStore):
    """Breaks rule 21."""

    locks = False


class MemorySuite(StoreSuite):
    """Stores of one class, kept per directory."""

    kind: type[MemoryStore] = MemoryStore
    survives_kill = False

    def __init__(self) -> None:
        self.disk: dict[Path, MemoryStore] = {}

    def open_store(self, directory: Path) -> Store:
        """Open what the directory kept."""
        earlier = self.disk.get(directory)
        self.disk[directory] = self.kind() if earlier is None else self._again(earlier)
        return self.disk[directory]

    def _again(self, earlier: MemoryStore) -> MemoryStore:
        records = earlier.reopen()._records
        fresh = self.kind()
        MemoryStore.commit(fresh, records, durable=True)
        return fresh


class SharedSuite(MemorySuite):
    """Breaks rule 22: one store for all directories."""

    def open_store(self, directory: Path) -> Store:
        """Ignore the directory."""
        self.shared = getattr(self, "shared", None) or MemoryStore()
        self.shared._closed = False
        return self.shared


class FileSuite(StoreSuite):
    """The sound store in a file."""

    def open_store(self, directory: Path) -> Store:
        """Open the file."""
        return FileStore(directory)


class SavesAtCloseSuite(StoreSuite):
    """Breaks rule 20."""

    def open_store(self, directory: Path) -> Store:
        """Open the file."""
        return SavesAtClose(directory)


class SavesInPartSuite(StoreSuite):
    """Breaks rule 20."""

    def open_store(self, directory: Path) -> Store:
        """Open the file."""
        return SavesInPart(directory)


class TakesNoLockSuite(StoreSuite):
    """Breaks rule 21."""

    def open_store(self, directory: Path) -> Store:
        """Open the file."""
        return TakesNoLock(directory)


BROKEN_STORES: dict[type[MemoryStore], int] = {
    KeepsFirstValue: 1,
    MissingIsAnError: 2,
    ShortKeysFirst: 3,
    IncludesStop: 4,
    ExcludesStart: 4,
    NeverReverses: 5,
    IgnoresLimit: 6,
    LimitsBeforeReversing: 6,
    ZeroMeansNoLimit: 6,
    TextKeys: 7,
    EmptyIsMissing: 8,
    LosesDeletes: 9,
    ReadsDeletesTwice: 9,
    DeletesWin: 10,
    OneByOne: 11,
    CutsLongKeys: 12,
    CutsLongValues: 13,
    LiveResults: 14,
    RoomForThousands: 15,
    ForgetsOnClose: 16,
    ForgetsCheapCommits: 16,
    ClosesOnce: 17,
    ReadsAfterClose: 18,
    OneThread: 19,
}
BROKEN_SUITES: dict[type[StoreSuite], int] = {
    SharedSuite: 22,
    SavesAtCloseSuite: 20,
    SavesInPartSuite: 20,
    TakesNoLockSuite: 21,
}


def broken_rules(suite: type[StoreSuite], **attributes: Any) -> set[int]:
    """Run every check, also those that rest on a broken rule, and return the numbers of the rules found broken."""
    if attributes:
        suite = type(suite.__name__, (suite,), attributes)
    return set(_broken(suite))


def _broken(suite: type[StoreSuite]) -> Iterator[int]:
    for rule in suite.rules():
        try:
            check_rule(suite, rule, "")
        except NotApplicable:
            continue
        except RuleBroken as broken:
            assert f"rule {broken.number} of the store contract " in str(broken)
            yield broken.number


@pytest.mark.parametrize("kind", BROKEN_STORES, ids=lambda kind: kind.__name__)
def test_broken_store(kind: type[MemoryStore]) -> None:
    """A broken store breaks the intended rule and no other."""
    assert broken_rules(MemorySuite, kind=kind) == {BROKEN_STORES[kind]}


@pytest.mark.parametrize("suite", BROKEN_SUITES, ids=lambda suite: suite.__name__)
def test_broken_suite(suite: type[StoreSuite]) -> None:
    """A store that is broken as a file or as a directory breaks the intended rule and no other."""
    assert broken_rules(suite) == {BROKEN_SUITES[suite]}


@pytest.mark.parametrize("suite", [MemorySuite, FileSuite], ids=lambda suite: suite.__name__)
def test_sound_store(suite: type[StoreSuite]) -> None:
    """The stores that the broken ones are made from break nothing."""
    assert broken_rules(suite) == set()


def test_every_rule_is_broken_by_something() -> None:
    """No check is there that could not fail."""
    assert set(BROKEN_STORES.values()) | set(BROKEN_SUITES.values()) == set(rules())


def test_every_check_has_a_rule() -> None:
    """No check goes without a number, and no two share one."""
    checks = {name for name in vars(StoreSuite) if name.startswith("test_")}
    assert {name for _, name in rules().values()} == checks
    assert list(rules()) == list(range(1, len(checks) + 1))


def test_reference_has_the_same_rules() -> None:
    """The reference numbers every rule that is checked, in the same words, and none besides."""
    listed = re.findall(r"^(\d+)\. (.+)$", REFERENCE.read_text(), re.MULTILINE)
    assert {int(number): words for number, words in listed} == {n: words for n, (words, _) in rules().items()}


def test_the_first_broken_rule_is_named() -> None:
    """What rests on a broken rule is not run, and says which it needs."""
    report = run_suite(type("Keeps", (MemorySuite,), {"kind": KeepsFirstValue}))
    assert report.first_broken is not None
    assert report.first_broken.rule == 1
    assert {result.reason for result in report.results if result.status == "not run"} == {"not run: needs rule 1"}
