"""What `open_store` refuses, and that it leaves what it refuses as it was."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from berty_sqlite.schema import MIGRATIONS
from berty_sqlite.store import FILE, open_store

from berty_core.errors import StoreCorrupt, StoreError, StoreLocked, StoreTooNew

RECORDS = {b"%04d" % n: bytes([n % 251]) * (n % 600) for n in range(2000)}


def filled(directory: Path) -> Path:
    """Make a store of two thousand records and return its file."""
    store = open_store(directory)
    store.commit(RECORDS, durable=True)
    store.close()
    return directory / FILE


def contents(directory: Path) -> dict[str, bytes]:
    """Read every file of a directory."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def add_migration(connection: sqlite3.Connection) -> None:
    """Change the layout as a later version might: prefix every key."""
    connection.execute("UPDATE record SET key = CAST('v2' || key AS BLOB)")


def broken_migration(connection: sqlite3.Connection) -> None:
    """Fail after a change."""
    add_migration(connection)
    connection.execute("INSERT INTO record VALUES (NULL, NULL)")


def test_private(tmp_path: Path) -> None:
    """Only the user can read the directory, the database and its log, whatever the umask is."""
    umask = os.umask(0)
    try:
        store = open_store(tmp_path / "a" / "b")
        store.commit({b"a": b"1"}, durable=True)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a" / "b").iterdir()}
        store.close()
    finally:
        os.umask(umask)
    assert modes == {FILE: 0o600, FILE + "-wal": 0o600}
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_one_file_when_closed(tmp_path: Path) -> None:
    """After `close` the database is the only file, so a copy of it is a copy of the store."""
    assert list(contents(filled(tmp_path).parent)) == [FILE]


def test_strange_directory(tmp_path: Path) -> None:
    """Characters that mean something in a URI are only characters in a path."""
    for name in ("a?mode=memory", "b#c", "d%20e", "f g", "ü"):
        filled(tmp_path / name)
        assert (tmp_path / name / FILE).stat().st_size > 0


def test_locked_in_one_process(tmp_path: Path) -> None:
    """A second opening in the same process is refused, and does not free the first one's lock by the way."""
    store = open_store(tmp_path)
    for _ in range(2):
        with pytest.raises(StoreLocked, match="stop it first"):
            open_store(tmp_path)
    code = f"from pathlib import Path; from berty_sqlite.store import open_store; open_store(Path({str(tmp_path)!r}))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "StoreLocked" in other.stderr
    store.commit({b"a": b"1"}, durable=True)
    store.close()


@pytest.mark.parametrize("size", [0, 1, 99, 4096, 100_000])
def test_garbage(tmp_path: Path, size: int) -> None:
    """A file of garbage is StoreCorrupt and stays as it is; an empty one is a store that was never begun."""
    path = tmp_path / FILE
    path.write_bytes(random.Random(size).randbytes(size))
    if size == 0:
        open_store(tmp_path).close()
        return
    before = contents(tmp_path)
    with pytest.raises(StoreCorrupt, match=r"damaged|too short"):
        open_store(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_truncated(tmp_path: Path, keep: float) -> None:
    """A file that lost its end is StoreCorrupt at once, and stays as it is."""
    path = filled(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    before = contents(tmp_path)
    with pytest.raises(StoreCorrupt):
        open_store(tmp_path)
    assert contents(tmp_path) == before


def test_killed_while_the_log_was_moved(tmp_path: Path) -> None:
    """A database whose first page already tells a length that it has not yet is completed from its log."""
    store = open_store(tmp_path)
    store.commit(RECORDS, durable=True)
    left = contents(tmp_path)
    store.close()
    moved = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(moved[:8192] + left[FILE][8192:])
    assert len(left[FILE]) < len(moved) // 2
    (tmp_path / (FILE + "-wal")).write_bytes(left[FILE + "-wal"])
    store = open_store(tmp_path)
    assert dict(store.scan(b"", b"\xff")) == RECORDS
    store.close()


def test_foreign_database(tmp_path: Path) -> None:
    """A database of another program is not taken over."""
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("CREATE TABLE record (key, value)")
    connection.close()
    before = contents(tmp_path)
    with pytest.raises(StoreCorrupt, match="some other program"):
        open_store(tmp_path)
    assert contents(tmp_path) == before


def test_missing_table(tmp_path: Path) -> None:
    """A store that lost its table is StoreCorrupt when it is opened."""
    connection = sqlite3.connect(filled(tmp_path))
    connection.execute("DROP TABLE record")
    connection.close()
    with pytest.raises(StoreCorrupt, match="no such table"):
        open_store(tmp_path)


def test_failure_within_a_commit(tmp_path: Path) -> None:
    """A record that SQLite refuses takes those before it back, and the next commit works."""
    store = open_store(tmp_path)
    with pytest.raises(StoreError):
        store.commit({b"a": b"1", b"b": ["no", "bytes"]}, durable=True)
    assert store.scan(b"", b"z") == []
    store.commit({b"c": b"1"}, durable=True)
    assert store.scan(b"", b"z") == [(b"c", b"1")]
    store.close()


@pytest.mark.parametrize("seed", range(20))
def test_damaged_page(tmp_path: Path, seed: int) -> None:
    """A page overwritten anywhere behind the header gives right answers or StoreCorrupt, at open or in a call."""
    path = filled(tmp_path)
    whole = bytearray(path.read_bytes())
    chance = random.Random(seed)
    page = chance.randrange(1, len(whole) // 8192) * 8192
    whole[page : page + 8192] = chance.randbytes(8192) if seed % 2 else bytes(8192)
    path.write_bytes(whole)
    with pytest.raises(StoreCorrupt):
        read_everything(tmp_path)
    assert path.read_bytes() == whole


def read_everything(directory: Path) -> None:
    """Read in both ways, closing in any case."""
    store = open_store(directory)
    try:
        store.scan(b"", b"\xff")
        for key in RECORDS:
            store.get(key)
    finally:
        store.close()


def test_too_new(tmp_path: Path) -> None:
    """A later version's store is refused before anything is touched, even where that version left a log behind."""
    store = open_store(tmp_path, (*MIGRATIONS, add_migration))
    store.commit(RECORDS, durable=True)
    left = contents(tmp_path)
    store.close()
    for files in (contents(tmp_path), left):
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        with pytest.raises(StoreTooNew, match="update berty-sqlite"):
            open_store(tmp_path)
        assert contents(tmp_path) == files
        (tmp_path / (FILE + "-wal")).unlink(missing_ok=True)


def test_migration(tmp_path: Path) -> None:
    """An empty database is layout 0; each later layout is reached from any earlier one, with its records."""
    (tmp_path / FILE).touch()
    store = open_store(tmp_path)
    store.commit({b"a": b"1"}, durable=True)
    store.close()
    store = open_store(tmp_path, (*MIGRATIONS, add_migration))
    assert store.scan(b"", b"\xff") == [(b"v2a", b"1")]
    store.close()
    store = open_store(tmp_path, (*MIGRATIONS, add_migration, add_migration))
    assert store.scan(b"", b"\xff") == [(b"v2v2a", b"1")]
    store.close()


def test_failed_migration(tmp_path: Path) -> None:
    """A migration that fails leaves the earlier layout, which the earlier software opens."""
    filled(tmp_path)
    with pytest.raises(StoreError):
        open_store(tmp_path, (*MIGRATIONS, add_migration, broken_migration))
    store = open_store(tmp_path)
    assert dict(store.scan(b"", b"\xff")) == RECORDS
    store.close()


def test_file_in_place_of_directory(tmp_path: Path) -> None:
    """A path that cannot be a directory is a StoreError."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        open_store(tmp_path / "file")
