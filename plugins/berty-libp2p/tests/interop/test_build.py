"""The builder of the Go programs says by its exit code whether something is broken or only missing here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BUILD = Path(__file__).parent / "build.py"
BROKEN, NOT_NOW = 1, 75


def build(directory: Path, go: str) -> tuple[int, str]:
    """Build with nothing in the cache, and with a Go that does this."""
    program = directory / "go"
    program.write_text(f"#!/bin/sh\n{go}\n")
    program.chmod(0o755)
    surroundings = {"PATH": f"{directory}:/usr/bin:/bin", "XDG_CACHE_HOME": str(directory / "cache")}
    environment = {**os.environ, **surroundings}
    for name in ("BERTY_LIBP2P_PEER", "PYTHONPATH"):
        environment.pop(name, None)
    command = [sys.executable, str(BUILD), "peer", "--within", "2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands for Go")
@pytest.mark.parametrize(
    ("go", "code", "words"),
    [
        ('test "$1" = build', NOT_NOW, "the modules of peer cannot be had"),
        ('test "$1" = list', BROKEN, "peer does not compile"),
        ("exec sleep 60", NOT_NOW, "time is over"),
        ('test "$1" = list || : > "$5"', 0, "peer-"),
    ],
)
def test_what_is_broken_and_what_is_missing(tmp_path: Path, go: str, code: int, words: str) -> None:
    """Modules that are out of reach and time that is over are no fault; what does not compile is one."""
    found, said = build(tmp_path, go)
    assert (found, words in said) == (code, True), said
    built = list((tmp_path / "cache").rglob("peer-*"))
    assert len(built) == (code == 0)
