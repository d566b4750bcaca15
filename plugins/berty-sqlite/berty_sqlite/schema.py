"""The layout of the file and how it grows. Invariant: `PRAGMA user_version` is the number of migrations that were run.

A released migration is never edited: a change of layout is one more function at the end of `MIGRATIONS`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from berty_core.errors import StoreCorrupt, StoreTooNew

APPLICATION = 0x42727479  # "Brty", in the file's header: a database of some other program is not taken for a store

Migration = Callable[[sqlite3.Connection], None]


def _create(connection: sqlite3.Connection) -> None:
    # A rowid table with an index: half the cost per written record of WITHOUT ROWID, where values move with the keys.
    connection.execute("CREATE TABLE record (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL)")


# Read when opening: one path of pages each at any size, but all in one statement would read the whole table.
_LOOKS = (
    "SELECT min(key) FROM record",
    "SELECT max(key) FROM record",
    "SELECT max(rowid) FROM record",
)

MIGRATIONS: tuple[Migration, ...] = (_create,)


def identify(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> int:
    """Return the version of the layout from the file's header; StoreTooNew, or StoreCorrupt where it is no store."""
    version = number(connection, "user_version")
    if version > len(migrations):
        raise StoreTooNew(
            f"the store has layout {version}, this software knows layouts up to {len(migrations)}:"
            " update berty-sqlite, nothing was changed"
        )
    if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        return 0
    if number(connection, "application_id") != APPLICATION:
        raise StoreCorrupt("the database was written by some other program: move it away, or choose another home")
    return version


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Run what is missing as one transaction: a failure or a power cut leaves the earlier layout whole."""
    version = identify(connection, migrations)
    if version:
        for look in _LOOKS:
            connection.execute(look).fetchone()
    if version == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")  # whoever called closes the connection on failure, which takes all of it back
    for step in migrations[version:]:
        step(connection)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {len(migrations)}")
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the file's own header tells the version from here on


def number(connection: sqlite3.Connection, pragma: str) -> int:
    """Read a pragma that holds one number."""
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
