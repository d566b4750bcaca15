"""Whole files or none: each is written beside, synchronised, given the one date, and only then gets its name.

Invariant: whatever interrupts it, every file with a final name holds whole chunks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from berty_core.errors import UserError

SUFFIX, UNFINISHED = ".bin", ".tmp"
DATE = 946_728_000  # noon of 1 January 2000 UTC: in every time zone a date that FAT can hold, and it says nothing
MAX_FILES = 1 << 16  # of one export: four hexadecimal digits
TRIES = 64  # names that are looked for
_UNFINISHED_NAME = re.compile(r"[0-9a-f]{8}\.tmp", re.IGNORECASE)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_GONE = {errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EIO, errno.ESTALE, errno.ENOTDIR}


class FileWriter:
    """Write chunks to files of at most `limit` bytes (None: one file), whose names `name_of` gives by number."""

    def __init__(self, directory: Path, name_of: Callable[[int], str], limit: int | None) -> None:
        self._directory = directory
        self._name_of = name_of
        self._limit = limit
        self._file: FileIO | None = None
        self._temporary = directory
        self._size = 0
        self.files: list[Path] = []
        self.bytes = 0

    def write(self, chunk: bytes) -> None:
        """Add a chunk; UserError with words if the medium does not take it."""
        with self._in_words():
            if self._file is not None and self._limit is not None and self._size + len(chunk) > self._limit:
                self._finish()
            if self._file is None:
                self._begin()
            assert self._file is not None  # noqa: S101  `_begin` made it
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]
            self._size += len(chunk)

    def _begin(self) -> None:
        if len(self.files) >= MAX_FILES:
            raise UserError(f"more than {MAX_FILES} files: give --file-size a larger value")
        self._temporary = self._directory / Path(self._name_of(len(self.files))).with_suffix(UNFINISHED)
        descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        self._file = FileIO(descriptor, "wb")
        self._size = 0

    def _finish(self) -> None:
        assert self._file is not None  # noqa: S101  only then is it called
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        with contextlib.suppress(PermissionError):  # some mounts let nobody set dates
            os.utime(self._temporary, (DATE, DATE))
        path = self._directory / self._name_of(len(self.files))
        self._temporary.replace(path)
        _synchronise(self._directory)
        self.files.append(path)
        self.bytes += self._size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the last file, or leave no trace of it."""
        try:
            if error is None and self._file is not None:
                with self._in_words():
                    self._finish()
        finally:
            self._drop()

    def _drop(self) -> None:
        if self._file is None and self._temporary == self._directory:
            return
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(self._words(error)) from error

    def _words(self, error: OSError) -> str:
        place, kept = self._directory, _kept(len(self.files))
        if error.errno in _FULL:
            return f"{place} is full ({error.strerror}); {kept}: make room, or give --quota, and export again"
        if error.errno == errno.EROFS:
            return f"{place} is read-only: its switch or its mount forbids writing; {kept}"
        if error.errno in _GONE:
            return f"{place} is gone or broken ({error.strerror}): was the medium pulled out? {kept.capitalize()}"
        return f"{place} cannot be written: {error.strerror or error}; {kept}"


def _kept(count: int) -> str:
    if not count:
        return "nothing was written"
    return f"{count} whole {'file was' if count == 1 else 'files were'} written, which can be taken in"


def _synchronise(directory: Path) -> None:
    """Make a new name durable, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def into_directory(directory: Path, limit: int) -> FileWriter:
    """Write many files with neutral names; what a killed export left unfinished is removed."""
    with contextlib.suppress(OSError):
        for left in directory.iterdir():
            if _UNFINISHED_NAME.fullmatch(left.name):
                left.unlink(missing_ok=True)
    prefix = _free_prefix(directory)
    return FileWriter(directory, lambda number: f"{prefix}{number:04x}{SUFFIX}", limit)


def _free_prefix(directory: Path) -> str:
    """Four digits with which no name begins there; UserError where nearly all are taken."""
    for _ in range(TRIES):
        prefix = os.urandom(2).hex()
        if not any(directory.glob(f"{prefix}*")):
            return prefix
    raise UserError(f"{directory} has so many files that no names are left: choose an empty directory")


def into_archive(path: Path) -> FileWriter:
    """Write one file; UserError if there is one already."""
    if path.exists() or path.is_symlink():
        raise UserError(f"{path} is there already: choose another name, or remove it first")
    if not path.parent.is_dir():
        raise UserError(f"there is no directory {path.parent}: is the medium mounted?")
    if not path.suffix:
        raise UserError(f"there is no directory {path}: is the medium mounted? One file needs an ending, as {path}.bin")
    if path.suffix == UNFINISHED:
        raise UserError(f"{path}: a name that ends in {UNFINISHED} is for files that are not finished; choose another")
    unfinished = path.with_suffix(UNFINISHED)
    if unfinished.exists() or unfinished.is_symlink():
        raise UserError(f"{unfinished} is there: if an interrupted export left it, remove it; else choose another name")
    return FileWriter(path.parent, lambda _: path.name, None)
