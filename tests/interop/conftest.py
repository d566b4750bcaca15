"""The peers that the conversations are held with: our own, and the one that `BERTY_WESH_PEER` names."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("berty_libp2p", reason="berty-libp2p is not installed")

VARIABLE = "BERTY_WESH_PEER"
PROFILE = "{profile}"  # in the command: `wesh` or `berty` is put there
HOME = "{home}"  # in the command: an empty directory that nobody else uses
Command = Callable[..., list[str]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sockets in a directory of our own."""
    runtime = tempfile.mkdtemp(prefix="berty-")
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    yield
    shutil.rmtree(runtime)


@pytest.fixture
def own_peer(tmp_path: Path) -> Command:
    """Make the command of our own peer."""

    def command(profile: str = "wesh", fault: str = "") -> list[str]:
        program = [sys.executable, str(Path(__file__).parent / "own_peer.py"), "--home", str(tmp_path / "peer")]
        return [*program, "--profile", profile, *(["--fault", fault] if fault else [])]

    return command


@pytest.fixture
def named_peer(tmp_path: Path) -> Command:
    """Make the command of the peer that the environment names; the test skips where there is none."""
    named = os.environ.get(VARIABLE, "")
    if not named:
        pytest.skip(f"{VARIABLE} names no program that speaks the line protocol (docs/reference/line-protocol.md)")

    def command(profile: str = "wesh") -> list[str]:
        if profile != "wesh" and PROFILE not in named:
            pytest.skip(f"{VARIABLE} has no {PROFILE}: the program has one store profile")
        return [word.replace(HOME, str(tmp_path / "peer")).replace(PROFILE, profile) for word in shlex.split(named)]

    return command
