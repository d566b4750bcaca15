"""Chunks out of files that anybody may have put there: read in place, never unpacked, names decide nothing.

Invariant: a chunk that the medium cannot read costs that chunk, and memory does not grow with what is there.
"""

from __future__ import annotations

import contextlib
import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from berty_core.contracts.bundle import CHUNK_BYTES
from berty_core.errors import UserError

from .writing import SUFFIX

MAX_FILES = 1 << 20
_NOTHING = bytes(CHUNK_BYTES)  # what was never written, as in a file with holes; no chunk is all zeros
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class BundleFiles:
    """The files of one import. A chunk is named by its place: the number of its file and its number in it."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self.lost = 0  # chunks that the medium did not give, and ends of files that are no whole chunk
        self._sizes = [_chunks_in(path) for path in paths]

    @property
    def chunks(self) -> int:
        """How many whole chunks there are."""
        return sum(self._sizes)

    def places(self) -> Iterator[int]:
        """Every chunk, file by file."""
        for number, size in enumerate(self._sizes):
            for chunk in range(size):
                yield number << 40 | chunk

    def read(self, places: array[int]) -> tuple[array[int], bytes]:
        """Some chunks one behind the other, and the places of those that could be read."""
        found, data = array("Q"), bytearray()
        with contextlib.ExitStack() as stack:
            opened: dict[int, int | None] = {}
            for place in places:
                number = place >> 40
                if number not in opened:
                    opened[number] = _open(self.paths[number], stack)
                chunk = self._read_one(opened[number], place & (1 << 40) - 1)
                if chunk is not None:
                    found.append(place)
                    data += chunk
        return found, bytes(data)

    def _read_one(self, descriptor: int | None, chunk: int) -> bytes | None:
        data = b""
        if descriptor is not None:
            with contextlib.suppress(OSError):  # a bad block: the next one may be sound
                os.lseek(descriptor, chunk * CHUNK_BYTES, os.SEEK_SET)
                while len(data) < CHUNK_BYTES and (more := os.read(descriptor, CHUNK_BYTES - len(data))):
                    data += more
        if len(data) == CHUNK_BYTES and data != _NOTHING:
            return data
        self.lost += 1
        return None

    def count_ends(self) -> int:
        """Files that end within a chunk, as one whose copying was interrupted does."""
        return sum(_ends_within(path) for path in self.paths)


def _open(path: Path, stack: contextlib.ExitStack) -> int | None:
    """Open a plain file; None if it is gone, or is none any longer."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        return None
    stack.callback(os.close, descriptor)
    return descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _chunks_in(path: Path) -> int:
    return _size(path) // CHUNK_BYTES


def _ends_within(path: Path) -> bool:
    return _size(path) % CHUNK_BYTES != 0


def find_files(place: Path) -> BundleFiles:
    """The files of a directory that may be of a bundle, or the one file that is named; UserError if there are none."""
    try:
        if not place.is_dir():
            return BundleFiles([_one_file(place)])
        with os.scandir(place) as entries:
            found = sorted(Path(entry.path) for entry in islice(filter(_may_be_ours, entries), MAX_FILES + 1))
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error.strerror or error}") from error
    if not found:
        raise UserError(f"{place} has no files of a bundle: they end in {SUFFIX}")
    if len(found) > MAX_FILES:
        raise UserError(f"{place} has more than {MAX_FILES} files: so many are not taken at once")
    return BundleFiles(found)


def _one_file(path: Path) -> Path:
    if not stat.S_ISREG(path.stat().st_mode):
        raise UserError(f"{path} is neither a directory nor a plain file")
    return path.resolve()


def _may_be_ours(entry: os.DirEntry[str]) -> bool:
    """A plain file, and no link to one: whoever wrote the stick must not choose what else is read."""
    return entry.name.lower().endswith(SUFFIX) and entry.is_file(follow_symlinks=False)
