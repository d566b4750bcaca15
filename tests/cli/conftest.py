"""Homes to run commands on: in this process for speed, or as processes where sockets, signals and terminals matter.

No test here touches the user's keyring, runtime directory or data directory.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from berty_core.cli.main import run
from berty_core.config import NodeConfig
from berty_core.runtime.node import create_home

NO_KEYRING = NodeConfig(keyring=False)
SETTINGS = "[node]\nkeyring = false\ndisabled = ['libp2p', 'udp']\n[plugins.mdns]\nloopback = true\n"
PATIENCE = 20.0  # seconds that something may take on a busy machine
Running = subprocess.Popen[bytes]


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
        assert self.out.count("\n") == 1
        return json.loads(self.out)


@attrs.frozen
class Home:
    """A home and the commands of its user."""

    path: Path
    capture: pytest.CaptureFixture[str] | None

    def berty(self, *words: str, stdin: bytes | None = None) -> Answer:
        """Run a command in this process, through its entry point."""
        assert self.capture is not None
        self.capture.readouterr()
        before = sys.stdin
        if stdin is not None:
            sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
        try:
            code = run(["--home", str(self.path), *words])
        finally:
            sys.stdin = before
        out, err = self.capture.readouterr()
        assert "Traceback" not in err
        assert "fault of the program" not in err
        return Answer(code, out, err)

    def command(self, *words: str) -> list[str]:
        """The same as a command line for a process of its own."""
        return [sys.executable, "-m", "berty_core", "--home", str(self.path), *words]

    def start(self, *words: str, **options: Any) -> Running:
        """Run a command as a process; whoever starts one ends it."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(self.command(*words), **{**pipes, **options})


def until(condition: Callable[[], object]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def end(process: Running) -> None:
    """End a process that may have ended already."""
    process.kill()
    process.communicate()


@pytest.fixture(scope="session", autouse=True)
def surroundings() -> Iterator[None]:
    """Directories of our own, and no keyring."""
    runtime = Path(tempfile.mkdtemp(prefix="berty-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        patch.setenv("XDG_DATA_HOME", str(runtime / "data"))
        patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
        for name in ("BERTY_HOME", "BERTY_PASSPHRASE_FILE", "BERTY_DEBUG", "_BERTY_COMPLETE"):
            patch.delenv(name, raising=False)
        yield
    shutil.rmtree(runtime)


@pytest.fixture
def ann(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Home:
    """A new home of Ann's."""
    path = tmp_path / "ann"
    create_home(path, "Ann", config=NO_KEYRING)
    (path / "berty.toml").write_text(SETTINGS)
    return Home(path, capsys)


@pytest.fixture
def nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Home:
    """A directory that is no home yet."""
    return Home(tmp_path / "nobody", capsys)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Ann and Bob, whose nodes run and meet on the loopback interface; they are no contacts yet."""
    directory = tmp_path_factory.mktemp("nodes")
    homes = {name: directory / name for name in ("ann", "bob")}
    for name, path in homes.items():
        create_home(path, name.capitalize(), config=NO_KEYRING)
        (path / "berty.toml").write_text(SETTINGS)
    processes: list[Running] = []
    try:
        for name, path in homes.items():
            with (directory / f"{name}.log").open("wb") as out:
                processes.append(Home(path, None).start("run", stdout=out, stderr=out))
        for path in homes.values():
            until(lambda path=path: (path / "socket").exists())  # type: ignore[misc]
        yield homes
        for name in homes:
            log = (directory / f"{name}.log").read_text()
            assert "fault of the program" not in log and "Traceback" not in log, f"{name}'s node:\n{log}"
    finally:
        for process in processes:
            end(process)
