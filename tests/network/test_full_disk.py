"""A home on a disk that is full: the person is told, nothing is lost, and with room again it goes on."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .lab import Device, DeviceError, Lab, assert_each_once, befriend, has_texts, until

ROOM = "6m"


def mount_command() -> list[str] | None:
    """The command that gives a mount namespace, or None where there is none."""
    for command in (["unshare", "-Urm"], ["unshare", "-m"]):
        try:
            done = subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/tmp"], check=False, capture_output=True)
        except FileNotFoundError:
            return None
        if done.returncode == 0:
            return command
    return None


@contextmanager
def small_disk(directory: Path) -> Iterator[list[str]]:
    """Mount a small disk on a directory, for whoever is started with the command."""
    command = mount_command()
    if command is None:
        pytest.skip("no mount namespaces here: unshare -Urm is refused")
    script = f"mount -t tmpfs -o size={ROOM} none {shlex.quote(str(directory))} && echo up && exec cat"
    held = subprocess.Popen([*command, "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert held.stdout is not None and held.stdout.readline() == "up\n"
    users = ["-U", "--preserve-credentials"] if "-Urm" in command else []
    try:
        yield ["nsenter", "-t", str(held.pid), *users, "-m", f"--wd={Path.cwd()}"]
    finally:
        held.communicate()


def send_until_full(device: Device, to: str) -> tuple[list[str], DeviceError]:
    """Send until it cannot be stored; what was confirmed, and the error."""
    sent: list[str] = []
    while len(sent) < 10_000:
        try:
            sent.append(device.send(to, "x" * 2000))
        except DeviceError as error:
            return sent, error
    raise AssertionError("the disk never became full")


def test_full_disk(loopback: Lab, tmp_path: Path) -> None:
    """Sending says that there is no room; what others send waits for room; all of it is there afterwards, once."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk) as enter:
        ann = loopback.device("Ann", home=disk / "home")
        ann._log_directory = tmp_path
        ann.around = enter
        ann.start()
        (bob,) = loopback.start("Bob")
        befriend(ann, bob)
        sent = [ann.send("Bob", "before")]
        has_texts(bob, "Ann", 1)
        ann.ask("fill", path=str(disk / "ballast"))
        more, error = send_until_full(ann, "Bob")
        assert error.kind == "StoreFull"
        assert "room" in error.words and str(disk) in error.words, error.words
        sent += more
        theirs = [bob.send("Ann", f"while you are full {n} " + "x" * 400_000) for n in range(6)]
        has_texts(bob, "Ann", len(sent) + 6)
        states = bob.ask("states", to="Ann", ids=theirs)
        held = {cid for cid, state in zip(theirs, states, strict=True) if state[0] not in ("stored", "sent")}
        assert held <= {message["id"] for message in ann.read("read", "Bob", 0, False)}, "held is what is stored there"
        assert len(held) < 6, "there is no room for all of it"

        ann.ask("remove", path=str(disk / "ballast"))
        sent.append(ann.send("Bob", "after"))
        has_texts(ann, "Bob", len(sent) + 6)
        has_texts(bob, "Ann", len(sent) + 6)
        for device, to in ((ann, "Bob"), (bob, "Ann")):
            assert_each_once(device, to, sent + theirs)
        until(lambda: {state[1] for state in bob.ask("states", to="Ann", ids=theirs)} == {1}, "held now")

        ann.kill()
        ann.start()
        assert ann.notices == []
        assert_each_once(ann, "Bob", sent + theirs)
        headers = [tuple(header) for header in ann.ask("counters")]
        assert len(headers) == len(set(headers))
        ann.close()


def test_opening_on_a_full_disk(loopback: Lab, tmp_path: Path) -> None:
    """A home on a full disk cannot be opened: the words say why, and with room again it opens with all it had."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk) as enter:
        ann = loopback.device("Ann", home=disk / "home")
        ann._log_directory = tmp_path
        ann.around = enter
        ann.start(network=False)
        ann.write("group_new", "notes")
        sent = ann.ask("burst", to="notes", prefix="n", count=20)
        ann.ask("fill", path=str(disk / "ballast"))
        ann.kill()
        with pytest.raises(DeviceError, match=r"room|space") as caught:
            ann.start()
        assert caught.value.kind in ("StoreFull", "StoreError", "UserError")
        subprocess.run([*enter, "rm", str(disk / "ballast")], check=True)
        ann.start()
        assert ann.notices == []
        assert_each_once(ann, "notes", sent)
        ann.close()
