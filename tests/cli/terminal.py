"""A program in a terminal of its own: what it shows, and what is typed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from typing import Self

import pytest

PATIENCE = 20.0
COLUMNS, LINES = 100, 30
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A process whose controlling terminal is ours to type into."""

    def __init__(self, command: Sequence[str]) -> None:
        try:
            self._ours, theirs = pty.openpty()
        except OSError as error:
            pytest.skip(f"no pseudo-terminals here: {error}")
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", LINES, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  Ctrl-C needs it
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(theirs)
        self.pid = self._process.pid
        self.raw = b""
        self.seen = ""  # without the sequences that move the cursor
        self._place = 0

    def expect(self, words: str) -> None:
        """Wait until these words are shown, behind those that were expected before."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.seen.find(words, self._place)) < 0:
            assert self._read(deadline - time.monotonic()), f"{words!r} does not come: {self.seen[self._place :]!r}"
        self._place = found + len(words)

    def type(self, text: str) -> None:
        """Type some keys."""
        os.write(self._ours, text.encode())

    def code(self) -> int:
        """Wait for the end, and give the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline - time.monotonic()):
            pass
        return self._process.wait(PATIENCE)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._ours], [], [], max(0.0, seconds))[0]:
            return False
        try:
            data = os.read(self._ours, 65_536)
        except OSError:  # Linux says so when the other end is closed
            return False
        if b"\x1b[6n" in data:  # where is the cursor?
            os.write(self._ours, b"\x1b[1;1R")
        self.raw += data
        self.seen = SEQUENCE.sub("", self.raw.decode(errors="replace"))
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)
