"""SQLite's and the system's errors in words of the Store contract. Invariant: nothing else leaves this package."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path

from berty_core.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)


def translate(error: sqlite3.Error | OSError, path: Path) -> StoreError:
    """Give the StoreError that tells what happened, where, and what to do."""
    if isinstance(error, OSError):
        return _full(path) if error.errno in _NO_ROOM else _not_writable(path, error)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _nothing_free(path)):
        return _full(path)
    if code in _NOT_WRITABLE:
        return _not_writable(path, error)
    return _NAMED.get(code, _other)(path, error)


def _locked(path: Path, _: Exception) -> StoreError:
    return StoreLocked(f"{path} is open in another process: use that one, or stop it first")


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreCorrupt(
        f"{path} is damaged ({error}): nothing was changed; restore a backup, or move the file away and"
        " get the history again from your other devices and peers"
    )


def _other(path: Path, error: Exception) -> StoreError:
    if isinstance(error, sqlite3.ProgrammingError):
        return StoreError(f"{path} was used after it was closed, or with a wrong type: {error}")
    return StoreError(f"{path} could not be used: {error}; nothing was changed")


def _full(path: Path) -> StoreFull:
    return StoreFull(f"no room left for {path}: free some space on that disk and try again; nothing was changed")


def _not_writable(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path} cannot be written ({error}): make it and its directory writable, or choose another home")


def _nothing_free(path: Path) -> bool:
    """Tell a full disk that came to light late (delayed allocation, quota) from a failing one."""
    try:
        return shutil.disk_usage(path.parent).free < 65536
    except OSError:
        return False


_NAMED = {
    sqlite3.SQLITE_BUSY: _locked,
    sqlite3.SQLITE_CORRUPT: _damaged,
    sqlite3.SQLITE_NOTADB: _damaged,
    sqlite3.SQLITE_ERROR: _damaged,  # from our own fixed statements it can only mean that the tables are not ours
}
