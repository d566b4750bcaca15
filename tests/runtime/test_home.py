"""Homes: who may read them, where their key is, and what is said when they cannot be opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from berty_core.errors import StoreCorrupt, UserError
from berty_core.runtime.home import KEY_FILE, KEYRING_SERVICE, SALT_FILE
from berty_core.runtime.node import create_home
from berty_core.runtime.replica.replica import Replica

from .conftest import Open
from .homes import contents
from .keyrings import ForgetfulKeyring, Keyring, NoKeyring

pytestmark = pytest.mark.anyio
PASSPHRASE = "correct horse"  # noqa: S105


def use(monkeypatch: pytest.MonkeyPatch, keyring: Keyring) -> Keyring:
    """Let this be the machine's keyring."""
    monkeypatch.setattr("keyring.core._keyring_backend", keyring)
    return keyring


# -- who may read it ---------------------------------------------------------------------------


async def test_a_home_is_this_users_alone(tmp_path: Path, open_home: Open) -> None:
    """Directory 0700, files 0600, also while it is open, whatever the user's umask and the directory were."""
    home = tmp_path / "deep" / "home"
    before = os.umask(0)
    try:
        home.mkdir(parents=True, mode=0o755)
        create_home(home, "Ann", use_keyring=False)
        async with open_home(home) as node:
            await node.store.write(node.actions.group_new, "g")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [home, *home.iterdir()]}
    finally:
        os.umask(before)
    assert modes.pop("home") == 0o700
    assert {"key", "mark", "lock", "berty.sqlite3", "berty.sqlite3-wal"} <= set(modes)
    assert set(modes.values()) == {0o600}


async def test_a_home_is_made_once(tmp_path: Path, open_home: Open) -> None:
    """A second account is refused, and the first one stays as it was."""
    create_home(tmp_path, "Ann", use_keyring=False)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=f"an account in {tmp_path} already.*--home"):
        create_home(tmp_path, "Bob", use_keyring=False)
    assert contents(tmp_path) == before
    async with open_home(tmp_path, name="Bob") as node:
        assert node.replica.own_name() == "Ann"


async def test_where_there_is_no_home(tmp_path: Path, open_home: Open) -> None:
    """It is said what to type, and nothing is made."""
    with pytest.raises(UserError, match=r"no account in .*berty init --name"):
        async with open_home(tmp_path / "none"):
            pass
    assert not (tmp_path / "none").exists()


async def test_a_file_is_no_home(tmp_path: Path) -> None:
    """The error says what is in the way, and how to choose another place."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=f"{tmp_path}/file cannot be used: File exists.*--home"):
        create_home(tmp_path / "file", "Ann", use_keyring=False)
    assert (tmp_path / "file").read_text() == "mine"


async def test_an_interrupted_creation_leaves_no_home(
    tmp_path: Path, open_home: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it left is taken away by the next attempt, also if that has its key elsewhere."""

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Replica, "create", die)
        create_home(tmp_path, "Ann", use_keyring=False)
    assert (tmp_path / KEY_FILE).exists()
    create_home(tmp_path, "Ann", passphrase=PASSPHRASE)
    assert not (tmp_path / KEY_FILE).exists()
    async with open_home(tmp_path, passphrase=lambda: PASSPHRASE) as node:
        assert node.replica.own_name() == "Ann"


# -- where its key is --------------------------------------------------------------------------


async def test_the_key_is_in_the_keyring(tmp_path: Path, open_home: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working keyring has it, and no file does."""
    keyring = use(monkeypatch, Keyring())
    source = create_home(tmp_path, "Ann")
    assert (source.kind, "keyring" in source.words) == ("keyring", True)
    (key,) = keyring.entries.values()
    assert set(keyring.entries) == {(KEYRING_SERVICE, str(tmp_path))}
    assert not (tmp_path / KEY_FILE).exists()
    assert not [name for name, (_, data) in contents(tmp_path).items() if bytes.fromhex(key) in data]
    async with open_home(tmp_path) as node:
        assert (node.replica.own_name(), node.key_source.kind) == ("Ann", "keyring")


@pytest.mark.parametrize("kind", [NoKeyring, ForgetfulKeyring, "locked"])
async def test_without_a_working_keyring_there_is_a_key_file(
    kind: type[Keyring] | str, tmp_path: Path, open_home: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The home works all the same, and it is said where the key lies."""
    keyring = use(monkeypatch, kind() if isinstance(kind, type) else Keyring())
    keyring.locked = kind == "locked"
    source = create_home(tmp_path, "Ann")
    assert (source.kind, "0600" in source.words) == ("file", True)
    assert len((tmp_path / KEY_FILE).read_bytes()) == 32
    async with open_home(tmp_path) as node:
        assert node.key_source.kind == "file"


async def test_a_keyring_is_not_asked_if_that_is_not_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`keyring = false` in the configuration, and a passphrase, leave it alone."""
    keyring = use(monkeypatch, Keyring())
    create_home(tmp_path / "file", "Ann", use_keyring=False)
    create_home(tmp_path / "passphrase", "Ann", passphrase=PASSPHRASE)
    assert not keyring.entries
    assert not (tmp_path / "passphrase" / KEY_FILE).exists()


@pytest.mark.parametrize("what", ["locked", "empty", "no key"])
async def test_a_keyring_that_does_not_give_the_key(
    what: str, tmp_path: Path, open_home: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said which home it is about and what to do; afterwards the home opens as before."""
    keyring = use(monkeypatch, Keyring())
    create_home(tmp_path, "Ann")
    before, entries = contents(tmp_path), dict(keyring.entries)
    keyring.locked = what == "locked"
    keyring.entries = {} if what == "empty" else dict.fromkeys(entries, "zz") if what == "no key" else entries
    error, words = (StoreCorrupt, "is no key: put back") if what == "no key" else (UserError, "unlock the keyring")
    with pytest.raises(error, match=f"{tmp_path}.*{words}"):
        async with open_home(tmp_path):
            pass
    assert contents(tmp_path) == before
    keyring.locked, keyring.entries = False, entries
    async with open_home(tmp_path) as node:
        assert node.replica.own_name() == "Ann"


@pytest.mark.parametrize("what", ["short", "missing", "of another home"])
async def test_a_key_file_that_does_not_fit(what: str, tmp_path: Path, open_home: Open) -> None:
    """It is said what is wrong with which file, and the store keeps every record as it was."""
    home = tmp_path / "home"
    create_home(home, "Ann", use_keyring=False)
    before, key = contents(home), (home / KEY_FILE).read_bytes()
    errors = {
        "short": (StoreCorrupt, f"{home}/key has 31 bytes, not 32: put back"),
        "missing": (UserError, f"{home} is neither in a file"),
        "of another home": (UserError, f"{home}: the key or passphrase is not the one"),
    }
    if what == "missing":
        (home / KEY_FILE).unlink()
    else:
        (home / KEY_FILE).write_bytes(key[:31] if what == "short" else os.urandom(32))
    error, words = errors[what]
    with pytest.raises(error, match=words):
        async with open_home(home):
            pass
    (home / KEY_FILE).write_bytes(key)
    (home / KEY_FILE).chmod(0o600)
    assert contents(home) == before
    async with open_home(home) as node:
        assert node.replica.own_name() == "Ann"


async def test_a_passphrase(tmp_path: Path, open_home: Open) -> None:
    """Only the right one opens the home; a wrong one, and none, are told and change nothing."""
    source = create_home(tmp_path, "Ann", passphrase=PASSPHRASE)
    assert source.kind == "passphrase"
    before = contents(tmp_path)
    assert PASSPHRASE.encode() not in b"".join(data for _, data in before.values())
    with pytest.raises(UserError, match=f"{tmp_path}: the key or passphrase is not the one"):
        async with open_home(tmp_path, passphrase=lambda: "wrong horse"):
            pass
    with pytest.raises(UserError, match=f"{tmp_path} is locked with a passphrase: give --passphrase-file"):
        async with open_home(tmp_path):
            pass
    (tmp_path / SALT_FILE).write_bytes(b"short")
    with pytest.raises(StoreCorrupt, match="salt has 5 bytes, not 16"):
        async with open_home(tmp_path, passphrase=lambda: PASSPHRASE):
            pass
    (tmp_path / SALT_FILE).write_bytes(before[SALT_FILE][1])
    assert contents(tmp_path) == before
    async with open_home(tmp_path, passphrase=lambda: PASSPHRASE) as node:
        assert (node.replica.own_name(), node.key_source.kind) == ("Ann", "passphrase")
