"""Homes that are read-only, in use, damaged or of a later version: what, where, what to do, and nothing is changed."""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from berty_sqlite.store import FILE

from berty_core.errors import StoreCorrupt, StoreError, StoreLocked, StoreTooNew, UserError
from berty_core.protocol.payloads import UserMessage
from berty_core.runtime.home import MARK_FILE
from berty_core.runtime.node import create_home

from .conftest import Open
from .homes import contents

pytestmark = pytest.mark.anyio
HOLD = """
import anyio, sys
from berty_core.config import NodeConfig
from berty_core.errors import BertyError
from berty_core.runtime.node import Node

async def main():
    try:
        async with Node.open(sys.argv[1], network=False, config=NodeConfig(keyring=False)):
            print("open", flush=True)
            sys.stdin.read()
    except BertyError as error:
        print(type(error).__name__, error, flush=True)

anyio.run(main)
"""


@pytest.fixture
async def home(tmp_path: Path, open_home: Open) -> Path:
    """A home with a group and some texts."""
    home = tmp_path / "home"
    create_home(home, "Ann", use_keyring=False)
    async with open_home(home) as node:
        group = await node.store.write(node.actions.group_new, "g")
        for number in range(20):
            await node.store.write(node.actions.send, "g", UserMessage(f"{number} " + 500 * "x"))
        assert group["name"] == "g"
    return home


@contextlib.contextmanager
def another_process(home: Path, *around: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that opens a home, and its first line: `open`, or the error."""
    command = [*around, sys.executable, "-c", HOLD, str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.communicate()


async def still_opens(home: Path, open_home: Open) -> None:
    """All texts are there."""
    async with open_home(home) as node:
        assert len(await node.store.read(node.actions.read, "g")) == 20


# -- in use ------------------------------------------------------------------------------------


async def test_two_processes_on_one_home(home: Path, open_home: Open) -> None:
    """The second one is told; after kill -9 of the first one the home opens, with all that was there."""
    with another_process(home) as (process, line):
        assert line == "open"
        with pytest.raises(StoreLocked, match=f"another process has the home {home} open: stop it, or let commands"):
            async with open_home(home):
                pass
        process.kill()
    await still_opens(home, open_home)


async def test_who_waits_gets_the_home_once_it_is_free(home: Path, open_home: Open) -> None:
    """A node that starts during a short command waits for its end."""
    with another_process(home) as (process, line):
        assert (line, process.stdin is not None) == ("open", True)
        with pytest.raises(StoreLocked):
            async with open_home(home, wait=0.2):
                pass
        process.stdin.close()  # type: ignore[union-attr]
        process.stdin = None
        async with open_home(home, wait=10) as node:
            assert node.replica.own_name() == "Ann"


# -- not writable ------------------------------------------------------------------------------


def read_only(home: Path) -> list[str]:
    """Who is started with this sees the home on a read-only mount; skips where that is not permitted."""
    script = f"mount --bind {shlex.quote(str(home))} {shlex.quote(str(home))} && "
    script += f'mount -o remount,ro,bind {shlex.quote(str(home))} && exec "$@"'
    for command in (["unshare", "-Urm"], ["unshare", "-m"]):
        with contextlib.suppress(FileNotFoundError):
            around = [*command, "sh", "-c", script, "sh"]
            if subprocess.run([*around, "true"], check=False, capture_output=True).returncode == 0:
                return around
    pytest.skip("no mount namespaces here: unshare -Urm is refused")


async def test_a_home_on_a_read_only_disk(home: Path, open_home: Open) -> None:
    """It is said that it cannot be written, and how to choose another."""
    before = contents(home)
    with another_process(home, *read_only(home)) as (_, line):
        assert line.startswith(f"UserError the home {home} cannot be written: Read-only file system")
        assert "--home" in line
    assert contents(home) == before
    await still_opens(home, open_home)


def without_rights() -> list[str]:
    """Who is started with this may write only where permissions say so."""
    if os.getuid() != 0:
        return []
    around = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=0", "--clear-groups"]
    probe = ["sh", "-c", "d=$(mktemp -d) && chmod 500 $d && ! touch $d/x 2>/dev/null"]
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run([*around, *probe], check=False, capture_output=True).returncode == 0:
            return around
    pytest.skip("as root, permissions can be tested only with setpriv")


@pytest.mark.parametrize("what", ["directory", "mark", "store", "key"])
async def test_a_home_without_the_right_to_write(what: str, home: Path, open_home: Open) -> None:
    """The words say what cannot be written or read."""
    path = {"directory": home, "mark": home / MARK_FILE, "store": home / FILE, "key": home / "key"}[what]
    words = {
        "directory": f"UserError the home {home} cannot be written: Permission denied; choose another with --home",
        "mark": f"StoreError {home}/mark cannot be written: Permission denied; make it writable for you",
        "store": f"StoreError {home}/{FILE} cannot be written",
        "key": f"UserError the file {home}/key cannot be read: Permission denied; its owner must be you",
    }[what]
    (home / "lock").unlink()
    before = contents(home)
    mode = path.stat().st_mode
    path.chmod(0o500 if what == "directory" else 0o000 if what == "key" else 0o400)
    try:
        with another_process(home, *without_rights()) as (_, line):
            assert line.startswith(words), line
    finally:
        path.chmod(mode)
    if what != "mark":  # that it moves is noted before it does
        assert contents(home) == before
    await still_opens(home, open_home)


# -- damaged -----------------------------------------------------------------------------------

DAMAGE = {
    "header": lambda data: b"x" * 100 + data[100:],
    "schema page": lambda data: data[:100] + os.urandom(400) + data[500:],
    "pages": lambda data: data[:8192] + os.urandom(len(data) - 8192),
    "cut short": lambda data: data[: len(data) // 2],
    "too short": lambda data: data[:100],
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_damaged_database(damage: str, home: Path, open_home: Open) -> None:
    """It is named, with what to do; what is left of it is not touched, and the right file opens again."""
    before = contents(home)
    database = home / FILE
    whole = database.read_bytes()
    database.write_bytes(DAMAGE[damage](whole))
    damaged = contents(home)
    with pytest.raises(StoreCorrupt, match=rf"{home}.*(backup|move (it|the file) away)"):
        async with open_home(home):
            pass
    if damage != "empty":  # there is nothing in it to lose
        assert contents(home) == damaged
    database.write_bytes(whole)
    assert contents(home) == before
    await still_opens(home, open_home)


def change(home: Path, statement: str, *values: object) -> None:
    """Change the database behind the node's back."""
    with contextlib.closing(sqlite3.connect(home / FILE)) as connection, connection:
        connection.execute(statement, values)


async def test_a_record_that_was_changed(home: Path, open_home: Open) -> None:
    """A sealed record that was tampered with is told, not believed."""
    change(home, "UPDATE record SET value = randomblob(length(value)) WHERE key >= x'72' AND key < x'73'")
    before = contents(home)
    with pytest.raises(StoreCorrupt, match=f"{home}: a record .* cannot be unsealed"):
        async with open_home(home):
            pass
    assert set(contents(home)) == set(before)


async def test_records_that_changed_places(home: Path, open_home: Open) -> None:
    """Two sealed records, each whole, do not pass for each other."""
    with contextlib.closing(sqlite3.connect(home / FILE)) as connection, connection:
        rows = connection.execute("SELECT key, value FROM record WHERE key >= x'73' AND key < x'74'").fetchall()
        for (key, _), (_, value) in zip(rows, rows[1:] + rows[:1], strict=True):
            connection.execute("UPDATE record SET value = ? WHERE key = ?", (value, key))
    with pytest.raises(StoreCorrupt, match=f"{home}: a record .* cannot be unsealed"):
        async with open_home(home):
            pass


@pytest.mark.parametrize(
    ("statement", "error", "words"),
    [
        ("PRAGMA user_version = 99", StoreTooNew, "layout 99.*update berty-sqlite"),
        ("UPDATE record SET value = '99' WHERE key = CAST('!schema' AS BLOB)", StoreTooNew, "home.*later version"),
        ("UPDATE record SET value = 'zz' WHERE key = CAST('!schema' AS BLOB)", StoreCorrupt, "home.*schema record"),
        ("PRAGMA application_id = 7", StoreCorrupt, "some other program"),
    ],
)
async def test_a_home_of_a_later_version(
    statement: str, error: type[StoreError], words: str, home: Path, open_home: Open
) -> None:
    """It is told which version is needed, and nothing is written."""
    change(home, statement)
    before = contents(home)
    with pytest.raises(error, match=words):
        async with open_home(home):
            pass
    assert contents(home) == before


async def test_a_store_that_is_gone(home: Path, open_home: Open) -> None:
    """A home whose store was deleted is not taken for a new one."""
    (home / FILE).unlink()
    with pytest.raises(StoreCorrupt, match=f"{home}: its store is empty: put back a backup"):
        async with open_home(home, name="Ann"):
            pass
    with pytest.raises(UserError, match="already"):
        create_home(home, "Ann", use_keyring=False)


@pytest.mark.parametrize("mark", [b"", b"no number", b"9" * 5000])
async def test_a_mark_that_says_nothing(mark: bytes, home: Path, open_home: Open) -> None:
    """The home may be a copy, so it takes part as a new device; all is there."""
    (home / MARK_FILE).write_bytes(mark)
    async with open_home(home) as node:
        assert any("copy" in notice for notice in node.notices)
    await still_opens(home, open_home)
