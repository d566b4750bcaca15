"""Homes that are copied, moved or put back from a backup: a copy becomes a new device, the original does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from berty_sqlite.store import FILE

from berty_core.protocol.payloads import UserMessage
from berty_core.runtime import home as homes
from berty_core.runtime.home import MARK_FILE
from berty_core.runtime.node import Node, create_home

from .conftest import Open

pytestmark = pytest.mark.anyio


@pytest.fixture
async def home(tmp_path: Path, open_home: Open) -> Path:
    """A home with two groups, one of which was left, and a text in each."""
    home = tmp_path / "home"
    create_home(home, "Ann", use_keyring=False)
    async with open_home(home) as node:
        for name in ("kept", "left"):
            await node.store.write(node.actions.group_new, name)
            await node.store.write(node.actions.send, name, UserMessage("before"))
        await node.store.write(node.actions.group_leave, "left")
    return home


async def used(node: Node, text: str) -> set[tuple[str, int]]:
    """Send a text, and tell which counters of which devices are used in the group."""
    cid = await node.store.write(node.actions.send, "kept", UserMessage(text))

    def look() -> set[tuple[str, int]]:
        group = node.actions.find_group("kept")
        opened = group.message(cid)
        assert opened is not None
        return {(str(opened.device), opened.counter)}

    return await node.store.read(look)


async def opened_as(home: Path, open_home: Open, text: str) -> tuple[bool, set[tuple[str, int]], list[str]]:
    """Open a home and send; whether it was taken for a copy, the counter that was used, and all texts."""
    async with open_home(home) as node:
        counter = await used(node, text)
        texts = [view["text"] for view in await node.store.read(node.actions.read, "kept")]
        return any("copy" in notice for notice in node.notices), counter, texts


async def test_a_copy_and_its_original_both_go_on(home: Path, open_home: Open) -> None:
    """They use counters of different devices, and both read what was there."""
    copy = Path(shutil.copytree(home, home.with_name("copy")))
    copied, by_copy, texts = await opened_as(copy, open_home, "by the copy")
    assert (copied, texts) == (True, ["before", "by the copy"])
    copied, by_original, texts = await opened_as(home, open_home, "by the original")
    assert (copied, texts) == (False, ["before", "by the original"])
    assert {device for device, _ in by_copy}.isdisjoint(device for device, _ in by_original)
    copied, again, _ = await opened_as(copy, open_home, "again")
    assert (copied, {device for device, _ in again}) == (False, {device for device, _ in by_copy})


async def test_a_copy_of_an_open_home_is_a_copy(home: Path, open_home: Open) -> None:
    """Also if it was made while the home was in use."""
    async with open_home(home) as node:
        by_original = await used(node, "by the original")
        copy = Path(shutil.copytree(home, home.with_name("copy"), ignore=shutil.ignore_patterns("socket")))
    copied, by_copy, _ = await opened_as(copy, open_home, "by the copy")
    assert copied
    assert {device for device, _ in by_copy}.isdisjoint(device for device, _ in by_original)


def whole_directory(backup: Path, home: Path) -> None:
    shutil.rmtree(home)
    shutil.copytree(backup, home)


def over_the_files(backup: Path, home: Path) -> None:
    for path in backup.iterdir():
        (home / path.name).write_bytes(path.read_bytes())  # in place: the same inodes
        shutil.copystat(path, home / path.name)


def the_store_alone(backup: Path, home: Path) -> None:
    for path in backup.glob(f"{FILE}*"):  # with its log, if it had one
        shutil.copy(path, home)


def without_the_mark(backup: Path, home: Path) -> None:
    (home / MARK_FILE).unlink()
    the_store_alone(backup, home)
    (home / MARK_FILE).touch()


@pytest.mark.parametrize("restore", [whole_directory, over_the_files, the_store_alone, without_the_mark])
async def test_a_backup_that_is_put_back(restore: Callable[[Path, Path], None], home: Path, open_home: Open) -> None:
    """In whatever way it is put back, no counter is used again that was used after the backup was made."""
    backup = Path(shutil.copytree(home, home.with_name("backup")))
    copied, lost, _ = await opened_as(home, open_home, "lost by the backup")
    assert not copied
    restore(backup, home)
    copied, by_restored, texts = await opened_as(home, open_home, "after the backup")
    assert (copied, texts) == (True, ["before", "after the backup"])
    assert {device for device, _ in by_restored}.isdisjoint(device for device, _ in lost)


@pytest.mark.parametrize("restore", [whole_directory, over_the_files, the_store_alone, without_the_mark])
async def test_a_backup_of_an_open_home_that_is_put_back(
    restore: Callable[[Path, Path], None], home: Path, open_home: Open
) -> None:
    """Also where what came after the backup was sent before the home was closed."""
    backup = home.with_name("backup")
    async with open_home(home) as node:
        shutil.copytree(home, backup, ignore=shutil.ignore_patterns("socket"))
        lost = await used(node, "lost by the backup")
    restore(backup, home)
    copied, by_restored, texts = await opened_as(home, open_home, "after the backup")
    assert (copied, texts) == (True, ["before", "after the backup"])
    assert {device for device, _ in by_restored}.isdisjoint(device for device, _ in lost)


async def test_a_home_that_is_moved_is_no_copy(home: Path, open_home: Open) -> None:
    """Its device goes on."""
    _, first, _ = await opened_as(home, open_home, "one")
    moved = home.rename(home.with_name("moved"))
    copied, second, _ = await opened_as(moved, open_home, "two")
    assert not copied
    (device, counter), (other, later) = *first, *second
    assert (other, later) == (device, counter + 1)


@pytest.mark.parametrize("written", [False, True])
async def test_a_kill_while_the_mark_moves_is_no_copy(
    written: bool, home: Path, open_home: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the mark was written already or not; the home opens as the device that it was."""
    _, first, _ = await opened_as(home, open_home, "one")
    write = homes._write_mark

    class Killed(BaseException):
        pass

    def die(path: Path, generation: int) -> None:
        if written:
            write(path, generation)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(homes, "_write_mark", die)
        async with open_home(home):
            pass
    copied, second, _ = await opened_as(home, open_home, "two")
    assert not copied
    assert {device for device, _ in first} == {device for device, _ in second}


async def test_a_copy_that_is_killed_before_it_is_a_new_device_is_still_a_copy(
    home: Path, open_home: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found out at the first opening is not forgotten."""
    copy = Path(shutil.copytree(home, home.with_name("copy")))

    class Killed(BaseException):
        pass

    def die(_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("berty_core.runtime.replica.replica.Replica.renew_devices", die)
        async with open_home(copy):
            pass
    _, by_original, _ = await opened_as(home, open_home, "by the original")
    copied, by_copy, _ = await opened_as(copy, open_home, "by the copy")
    assert copied
    assert {device for device, _ in by_copy}.isdisjoint(device for device, _ in by_original)
