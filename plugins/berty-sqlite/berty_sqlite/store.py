"""An ordered key-value store in one SQLite file in WAL mode. Invariant: one holder, and a commit is whole or absent.

The lock is SQLite's own (`locking_mode=EXCLUSIVE`): a byte-range lock on the database itself, which the system
drops with the process however it ends. It also keeps the index of the log in this process's memory, so no file
but the database and its log ever exists. No code here opens the database but through SQLite: closing any other
descriptor of a file drops a process's locks on it (POSIX).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from berty_core.contracts.store import MAX_KEY, MAX_VALUE
from berty_core.errors import StoreCorrupt, StoreError

from .failures import translate
from .schema import MIGRATIONS, Migration, identify, migrate

FILE = "berty.sqlite3"
SETTINGS = (
    "locking_mode = EXCLUSIVE",
    "page_size = 8192",
    "cell_size_check = ON",  # a damaged page is an error when read, not garbage
    "cache_size = -4000",  # KiB; nothing is mapped into memory: an I/O error would be a signal instead of an error
    "synchronous = FULL",
    "wal_autocheckpoint = 1024",  # pages: the log is about 8 MiB, and is then written over, not truncated and regrown
    "journal_size_limit = 16777216",  # a log that one huge commit blew up shrinks again
)

_PUT = "INSERT INTO record VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_DELETE = "DELETE FROM record WHERE key = ?"
_GET = "SELECT value FROM record WHERE key = ?"
_SCAN = "SELECT key, value FROM record WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
_SCAN_REVERSE = "SELECT key, value FROM record WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT ?"


def open_store(directory: Path, migrations: Sequence[Migration] = MIGRATIONS) -> SqliteStore:
    """Open or create `berty.sqlite3` in `directory`; StoreLocked, StoreCorrupt, StoreTooNew, StoreFull, StoreError."""
    path = directory / FILE
    try:
        _create_private(path)
        _look_from_outside(path, migrations)
        return SqliteStore(_connect(path, migrations), path)
    except (sqlite3.Error, OSError) as error:
        raise translate(error, path) from error


class SqliteStore:
    """The `Store` contract over one connection; calls may come from any thread, one at a time."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._durable: bool | None = None
        self._suspect = False

    def commit(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes] = (), *, durable: bool) -> None:
        """Write all or nothing. Without `durable` nothing is synchronised, so a power cut may take the last commits.

        A durable commit synchronises the whole log, and with it every earlier commit: they are frames before it in
        the same file, or were moved to the database, which a checkpoint synchronises before it reuses the log.
        """
        rows = sorted(puts.items())
        gone = [(key,) for key in deletes]
        _check_sizes(rows)
        try:
            self._prepare(durable)
            before = self._connection.total_changes
            self._write(rows, gone)
            if durable and self._connection.total_changes == before:
                self._checkpoint("FULL")  # an empty transaction synchronises nothing, earlier commits still may need it
        except sqlite3.Error as error:
            # After a failed write or fsync the log on the disk may lack what the cached log has.
            self._suspect |= (getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_IOERR
            raise translate(error, self._path) from error

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        try:
            row = self._connection.execute(_GET, (key,)).fetchone()
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        return None if row is None else row[0]

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """Pairs with start <= key < stop in order of key (or against it), at most `limit`."""
        statement = _SCAN_REVERSE if reverse else _SCAN
        try:
            return self._connection.execute(statement, (start, stop, -1 if limit is None else limit)).fetchall()
        except sqlite3.Error as error:
            raise translate(error, self._path) from error

    def close(self) -> None:
        """Move the log into the database and release the lock; idempotent."""
        try:
            self._connection.close()
        except sqlite3.Error as error:
            raise translate(error, self._path) from error

    def _prepare(self, durable: bool) -> None:
        if self._suspect:
            self._checkpoint("TRUNCATE")  # rewrites what the log holds into the database and starts an empty log
            self._suspect = False
        if durable is not self._durable:  # cannot change within a transaction
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable

    def _write(self, rows: list[tuple[bytes, bytes]], gone: list[tuple[bytes]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            if gone:  # first, so that a put wins
                self._connection.executemany(_DELETE, gone)
            if rows:
                self._connection.executemany(_PUT, rows)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _checkpoint(self, mode: str) -> None:
        self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()


def _check_sizes(rows: list[tuple[bytes, bytes]]) -> None:
    for key, value in rows:
        if len(key) > MAX_KEY:
            raise StoreError(f"a key of {len(key)} bytes: a store takes keys of at most {MAX_KEY}")
        if len(value) > MAX_VALUE:
            raise StoreError(f"a value of {len(value)} bytes: a store takes values of at most {MAX_VALUE}")


def _create_private(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # SQLite gives its log the same mode
        _synchronise_directories(path)
    if not (os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)):
        raise PermissionError(f"no right to write {path}")


def _synchronise_directories(path: Path) -> None:
    """Make the new file's name durable, and that of its directory. SQLite does it only for names that it makes."""
    if os.name != "posix":
        return
    for directory in (path.parent, path.parent.parent):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _look_from_outside(path: Path, migrations: Sequence[Migration]) -> None:
    """Refuse a newer or foreign file before anything is locked, recovered or written."""
    if 0 < path.stat().st_size < 512:
        raise StoreCorrupt(f"{path} is too short to be a store: restore a backup, or move the file away")
    probe = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        identify(probe, migrations)
    except sqlite3.DatabaseError as error:
        # Killed while the log was being moved into it, the file may look too short: then the log completes it.
        log = path.with_name(FILE + "-wal")
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        if not (log.exists() and log.stat().st_size):
            raise
    finally:
        probe.close()


def _connect(path: Path, migrations: Sequence[Migration]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        for setting in SETTINGS:
            connection.execute(f"PRAGMA {setting}").fetchall()
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StoreError(f"{path} lies where SQLite cannot keep a write-ahead log: choose a home on a local disk")
        migrate(connection, migrations)
    except BaseException:
        connection.close()
        raise
    return connection
