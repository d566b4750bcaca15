"""Processes that are killed, interrupted, or run out of room: whole files, whole homes, and the next run goes on."""

from __future__ import annotations

import random
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from berty_core import Node
from berty_core.contracts.bundle import CHUNK_BYTES

from .conftest import Home

TEXTS = 30
PATIENCE = 30.0


def fill(home: Home) -> None:
    """Write a history that takes a moment to be carried: every text fills more than one chunk."""

    async def send() -> None:
        async with Node.open(home.path, network=False) as node:
            for number in range(TEXTS):
                await node.send("hikers", f"{number} " + "x" * 40_000)

    anyio.run(send)


def killed_after(process: subprocess.Popen[bytes], seconds: float, number: int = signal.SIGKILL) -> int:
    """End a process some time after its start; its exit code."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    return process.returncode


def moments(duration: float, count: int) -> list[float]:
    """Random moments within a duration."""
    chance = random.Random(7)
    return [chance.uniform(0.1, 1.0) * duration for _ in range(count)]


def timed(process: subprocess.Popen[bytes]) -> float:
    """How long a process takes."""
    start = time.monotonic()
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, (out, err)
    return time.monotonic() - start


def test_kill_while_writing(two: tuple[Home, Home], stick: Path, tmp_path: Path) -> None:
    """Whenever an export is killed, each file with a final name is whole; the next one leaves nothing unfinished."""
    ann, bob = two
    fill(ann)
    whole = tmp_path / "whole"
    whole.mkdir()
    duration = timed(ann.start("file", "export", whole, "--all", "--file-size", "64k"))
    killed = 0
    for moment in moments(duration, 6):
        killed += killed_after(ann.start("file", "export", stick, "--all", "--file-size", "64k"), moment) != 0
        for path in stick.glob("*.bin"):
            assert path.stat().st_size % CHUNK_BYTES == 0
        if any(stick.glob("*.bin")):
            taken = bob.berty("file", "import", stick, "--json").data
            assert taken["cut_files"] == taken["chunks"]["unreadable"] == taken["lost"] == 0
    assert killed
    ann.berty("file", "export", stick, "--all", "--file-size", "64k")
    assert not list(stick.glob("*.tmp"))
    taken = bob.berty("file", "import", stick, "--json").data
    assert taken["missing"] == [] and taken["chunks"]["waiting"] == 0


def test_kill_while_taking_in(two: tuple[Home, Home], stick: Path, tmp_path: Path) -> None:
    """Whenever an import is killed, the home opens, and the next import brings the rest, each entry once."""
    ann, bob = two
    fill(ann)
    ann.berty("file", "export", stick, "--all")
    duration = timed(bob.start("status"))
    killed = 0
    for moment in moments(2 * duration, 6):
        killed += killed_after(bob.start("file", "import", stick), moment) != 0
        assert bob.berty("group", "list").code == 0
    assert killed
    assert bob.berty("file", "import", stick).code == 0
    assert bob.berty("file", "import", stick, "--json").data["entries"] == 0
    assert bob.berty("file", "import", stick, "--json").data["missing"] == []


def test_interrupt(two: tuple[Home, Home], stick: Path) -> None:
    """Ctrl-C and SIGTERM end an export in good order: no unfinished file stays."""
    ann, _ = two
    fill(ann)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = ann.start("file", "export", stick, "--all", "--file-size", "16k", "--whole")
        deadline = time.monotonic() + PATIENCE
        before = len(list(stick.iterdir()))
        while len(list(stick.iterdir())) <= before + 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)
        assert process.returncode in (code, 0)
        assert not list(stick.glob("*.tmp"))


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
def small_disk(directory: Path, options: str) -> Iterator[tuple[str, ...]]:
    """Mount a small disk on a directory, for whoever is started with the command."""
    command = mount_command()
    if command is None:
        pytest.skip("no mount namespaces here: unshare -Urm is refused")
    script = f"mount -t tmpfs -o {options} none {shlex.quote(str(directory))} && echo up && exec cat"
    held = subprocess.Popen([*command, "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert held.stdout is not None and held.stdout.readline() == "up\n"
    users = ["-U", "--preserve-credentials"] if "-Urm" in command else []
    try:
        yield ("nsenter", "-t", str(held.pid), *users, "-m", f"--wd={Path.cwd()}")
    finally:
        held.communicate()


def test_full_disk(two: tuple[Home, Home], stick: Path, tmp_path: Path) -> None:
    """On a medium without room the person is told, and the whole files that fitted can be taken in."""
    ann, bob = two
    fill(ann)
    with small_disk(stick, "size=600k") as enter:
        process = ann.start("file", "export", stick, "--all", "--file-size", "64k", around=enter)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert "is full" in err.decode() and "whole files were written" in err.decode(), err
        kept = tmp_path / "kept"
        subprocess.run([*enter, "cp", "-r", str(stick), str(kept)], check=True)
    names = [path.name for path in kept.iterdir()]
    assert names and all(name.endswith(".bin") for name in names)
    taken = bob.berty("file", "import", kept, "--json").data
    assert taken["entries"] > 0
    assert taken["chunks"]["unreadable"] == taken["cut_files"] == 0


def test_read_only_medium(two: tuple[Home, Home], stick: Path) -> None:
    """A medium that may only be read says so, and can be read."""
    ann, _ = two
    with small_disk(stick, "ro,size=600k") as enter:
        process = ann.start("file", "export", stick, "--all", around=enter)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert "read-only" in err.decode()
