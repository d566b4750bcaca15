"""The hook of this plugin. SQLite itself is imported when a store is opened, not before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from berty_core.contracts.hookspecs import hookimpl
from berty_core.contracts.store import Store, StoreSpec

API = (1, 0)
CORE = ">=0.1,<1"  # not a requirement in pyproject.toml: berty-core requires this distribution already


class SqliteSpec:
    """How the store is found and opened."""

    name = "sqlite"

    def open(self, directory: Path) -> Store:
        """Open or create the store in `directory`; StoreLocked, StoreCorrupt, StoreTooNew, StoreError."""
        from .store import open_store  # noqa: PLC0415  (a node that uses another store never loads SQLite)

        return open_store(directory)


@hookimpl
def berty_stores() -> Sequence[StoreSpec]:
    """Give the one store of this plugin."""
    return (SqliteSpec(),)
