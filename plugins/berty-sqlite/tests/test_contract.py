"""berty-sqlite keeps every rule of the Store contract."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import berty_sqlite.plugin
import pluggy
from berty_sqlite.store import open_store

from berty_core.contracts import hookspecs
from berty_core.contracts.store import Store
from berty_core.testing.store_suite import StoreSuite


class TestSqlite(StoreSuite):
    """The rules of the contract."""

    def open_store(self, directory: Path) -> Store:
        """Open it as the node does."""
        return open_store(directory)


def test_hook(tmp_path: Path) -> None:
    """The plugin registers without pending hooks, and its one store opens."""
    plugins = pluggy.PluginManager(hookspecs.PROJECT)
    plugins.add_hookspecs(hookspecs)
    plugins.register(berty_sqlite.plugin)
    plugins.check_pending()
    ((spec,),) = plugins.hook.berty_stores()
    assert spec.name == "sqlite"
    spec.open(tmp_path).close()


def test_entry_point() -> None:
    """The entry point bears the name of the configuration table."""
    (point,) = importlib.metadata.entry_points(group="berty.plugins", name="sqlite")
    assert point.value == "berty_sqlite.plugin"


def test_plugin_loads_without_sqlite() -> None:
    """Nothing of SQLite is imported before a store is opened."""
    code = "import sys, berty_sqlite.plugin; sys.exit('sqlite3' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
