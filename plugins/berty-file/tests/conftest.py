"""Homes that share no network, and the command in processes of its own. No test sees the user's keyring."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from berty_core.cli.main import run

SETTINGS = "[node]\nkeyring = false\ndisabled = ['mdns', 'libp2p', 'udp']\n"


@attrs.frozen
class Answer:
    """What a command gave back."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its one line of JSON."""
        assert self.code == 0, self.err
        return json.loads(self.out)


@attrs.frozen
class Home:
    """A home and the commands of its user."""

    path: Path
    capture: pytest.CaptureFixture[str]

    def berty(self, *words: str | Path) -> Answer:
        """Run a command in this process, through its entry point."""
        self.capture.readouterr()
        code = run(["--home", str(self.path), *map(str, words)])
        out, err = self.capture.readouterr()
        assert "Traceback" not in err
        assert "fault of the program" not in err
        return Answer(code, out, err)

    def start(self, *words: str | Path, around: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """The same as a process of its own."""
        command = [*around, sys.executable, "-m", "berty_core", "--home", str(self.path), *map(str, words)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def texts(self, to: str = "hikers") -> list[str]:
        """All texts of a conversation."""
        return [message["text"] for message in self.berty("read", to, "--json").data]

    def ids(self, to: str = "hikers") -> list[str]:
        """The ids of all texts, in the order of the log."""
        return [message["id"] for message in self.berty("read", to, "--json").data]


Make = Callable[[str], Home]


@pytest.fixture
def make(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make homes by name."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))

    def made(name: str) -> Home:
        home = Home(tmp_path / name, capsys)
        home.path.mkdir(mode=0o700)
        (home.path / "berty.toml").write_text(SETTINGS)
        assert home.berty("init", "--name", name).code == 0
        return home

    yield made


@pytest.fixture
def two(make: Make) -> tuple[Home, Home]:
    """Ann and Bob, who are in one group by its link and have exchanged nothing."""
    ann, bob = make("Ann"), make("Bob")
    ann.berty("group", "new", "hikers")
    link = ann.berty("group", "invite", "hikers").out.strip()
    assert bob.berty("group", "join", link).code == 0
    return ann, bob


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """A directory that somebody carries."""
    directory = tmp_path / "stick"
    directory.mkdir()
    return directory
