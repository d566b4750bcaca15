"""The memory store keeps the Store contract, and loses exactly what a power cut or a full disk would lose."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.contracts.store import Store
from berty_core.errors import StoreError, StoreFull
from berty_core.testing.memory_store import MemoryStore
from berty_core.testing.store_suite import ALL, StoreSuite


class TestMemoryStore(StoreSuite):
    """The rules of the contract."""

    survives_kill = False

    level = "simulated"

    def __init__(self) -> None:
        self.directories: dict[Path, MemoryStore] = {}

    def open_store(self, directory: Path) -> Store:
        """Keep one store per directory, as a disk would."""
        earlier = self.directories.get(directory)
        self.directories[directory] = MemoryStore() if earlier is None else earlier.reopen()
        return self.directories[directory]


def test_crash_keeps_what_a_durable_commit_covers() -> None:
    """A durable commit makes earlier cheap ones durable; what came after it is lost."""
    store = MemoryStore()
    store.commit({b"a": b"1", b"b": b"1"}, durable=False)
    store.commit({b"c": b"1"}, [b"b"], durable=True)
    store.commit({b"a": b"2", b"d": b"2"}, [b"c"], durable=False)
    survivor = store.crash()
    assert survivor.scan(*ALL) == [(b"a", b"1"), (b"c", b"1")]


def test_crash_closes() -> None:
    """Nothing can be written by the process that lost its power."""
    store = MemoryStore()
    store.crash()
    with pytest.raises(StoreError, match="closed"):
        store.get(b"a")


def test_empty_durable_commit_covers_earlier_ones() -> None:
    """A durable commit of nothing is a synchronisation."""
    store = MemoryStore()
    store.commit({b"a": b"1"}, durable=False)
    store.commit({}, durable=True)
    assert store.crash().get(b"a") == b"1"


def test_fail_after() -> None:
    """Exactly the chosen commit fails, with the chosen error, and changes nothing."""
    store = MemoryStore()
    store.fail_after(2)
    store.commit({b"a": b"1"}, durable=True)
    with pytest.raises(StoreFull):
        store.commit({b"a": b"2"}, durable=True)
    assert store.get(b"a") == b"1"
    store.fail_after(1, StoreError("broken"))
    with pytest.raises(StoreError, match="broken"):
        store.commit({}, [b"a"], durable=False)
    store.commit({b"b": b"3"}, durable=False)
    assert store.scan(*ALL) == [(b"a", b"1"), (b"b", b"3")]


keys = st.binary(max_size=2)
commits = st.lists(st.tuples(st.dictionaries(keys, st.binary(max_size=2)), st.lists(keys), st.booleans()), max_size=8)


@given(commits, keys, keys, st.booleans(), st.none() | st.integers(0, 4))
def test_like_a_dictionary(
    history: list[tuple[dict[bytes, bytes], list[bytes], bool]],
    start: bytes,
    stop: bytes,
    reverse: bool,
    limit: int | None,
) -> None:
    """Any history leaves what a dictionary would hold, and after a crash what it held at the last durable commit."""
    store, model, durable_model = MemoryStore(), dict[bytes, bytes](), dict[bytes, bytes]()
    for puts, deletes, durable in history:
        store.commit(puts, deletes, durable=durable)
        model = {key: value for key, value in model.items() if key not in deletes} | puts
        durable_model = dict(model) if durable else durable_model
    expected = sorted(((k, v) for k, v in model.items() if start <= k < stop), reverse=reverse)[:limit]
    assert expected == store.scan(start, stop, reverse=reverse, limit=limit)
    assert sorted(durable_model.items()) == store.crash().scan(*ALL)
