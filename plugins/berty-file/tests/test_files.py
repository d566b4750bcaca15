"""Files: whole or absent, alike in names and dates, and read whatever they hold."""

from __future__ import annotations

import errno
import os
import random
import re
from array import array
from pathlib import Path

import pytest
from berty_file import reading, writing
from berty_file.reading import find_files
from berty_file.writing import DATE, into_archive, into_directory
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.contracts.bundle import CHUNK_BYTES
from berty_core.errors import UserError


def chunks(count: int, seed: int = 1) -> list[bytes]:
    """Some chunks."""
    chance = random.Random(seed)
    return [chance.randbytes(CHUNK_BYTES) for _ in range(count)]


def read_all(place: Path) -> list[bytes]:
    """Every chunk of a place, in order."""
    files = find_files(place)
    _, data = files.read(array("Q", files.places()))
    return [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]


def test_directory(tmp_path: Path) -> None:
    """Files are no larger than the limit, hold all chunks in order, and have neutral names and one date."""
    wanted = chunks(11)
    with into_directory(tmp_path, 3 * CHUNK_BYTES) as writer:
        for chunk in wanted:
            writer.write(chunk)
    found = sorted(tmp_path.iterdir())
    assert found == writer.files
    assert len(found) == 4
    for path in found:
        assert re.fullmatch(r"[0-9a-f]{8}\.bin", path.name)
        assert path.stat().st_size <= 3 * CHUNK_BYTES
        assert path.stat().st_mtime == path.stat().st_atime == DATE
    assert read_all(tmp_path) == wanted
    assert writer.bytes == 11 * CHUNK_BYTES


def test_a_file_is_synchronised_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut leaves under a final name is whole: the whole file was on the medium before."""
    seen: list[tuple[int, list[str]]] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        seen.append((os.fstat(descriptor).st_size, sorted(path.suffix for path in tmp_path.iterdir())))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    with into_archive(tmp_path / "x.bin") as writer:
        for chunk in chunks(3):
            writer.write(chunk)
    assert seen[0] == (3 * CHUNK_BYTES, [".tmp"])
    assert seen[1][1] == [".bin"], "then the directory"


def test_exports_do_not_collide(tmp_path: Path) -> None:
    """Each export has names of its own."""
    for seed in range(5):
        with into_directory(tmp_path, CHUNK_BYTES) as writer:
            for chunk in chunks(3, seed):
                writer.write(chunk)
    assert len(list(tmp_path.iterdir())) == 15


def test_archive(tmp_path: Path) -> None:
    """One file, whose name must be free and have an ending, in a directory that is there."""
    path = tmp_path / "carry.bin"
    with into_archive(path) as writer:
        for chunk in chunks(5):
            writer.write(chunk)
    assert list(tmp_path.iterdir()) == [path]
    assert read_all(path) == chunks(5)
    for bad in (path, tmp_path / "none" / "x.bin", tmp_path / "x.tmp", tmp_path / "stick"):
        with pytest.raises(UserError):
            into_archive(bad)


def test_nothing_is_nothing(tmp_path: Path) -> None:
    """Without chunks there is no file."""
    with into_directory(tmp_path, CHUNK_BYTES):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_whole_files(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a file removes that file; those that were finished stay."""
    with pytest.raises(KeyboardInterrupt):
        with into_directory(tmp_path, 2 * CHUNK_BYTES) as writer:
            for chunk in chunks(5):
                writer.write(chunk)
            raise KeyboardInterrupt
    assert sorted(tmp_path.iterdir()) == writer.files
    assert read_all(tmp_path) == chunks(5)[:4]


def test_what_a_killed_export_left_is_removed(tmp_path: Path) -> None:
    """Unfinished files of an earlier export go; files of others with such an ending stay."""
    (tmp_path / "0abc0001.tmp").write_bytes(b"half")
    (tmp_path / "letter.tmp").write_text("keep me")
    with into_directory(tmp_path, CHUNK_BYTES) as writer:
        writer.write(chunks(1)[0])
    assert {path.name for path in tmp_path.iterdir()} == {"letter.tmp", writer.files[0].name}


def test_a_medium_where_all_names_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who prepared a stick so that no name is left gets words, not an export without end."""
    (tmp_path / "0000full").touch()
    monkeypatch.setattr(writing.os, "urandom", bytes)
    with pytest.raises(UserError, match="names"):
        into_directory(tmp_path, CHUNK_BYTES)


def test_what_lies_beside_an_archive_stays(tmp_path: Path) -> None:
    """A file that has the name under which an archive would be written is not removed for it."""
    (tmp_path / "trip.tmp").write_text("keep me")
    with pytest.raises(UserError, match=r"trip\.tmp"):
        into_archive(tmp_path / "trip.bin")
    assert (tmp_path / "trip.tmp").read_text() == "keep me"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "pulled out"),
        (errno.ENOENT, "pulled out"),
        (errno.EACCES, "cannot be written"),
    ],
)
def test_a_medium_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    """What the medium refuses is said in words, with how many whole files are there."""
    writer = into_directory(tmp_path, CHUNK_BYTES)
    with pytest.raises(UserError, match=words) as caught:
        with writer:
            for count, chunk in enumerate(chunks(4)):
                if count == 2:
                    monkeypatch.setattr(writing.os, "open", _failing(number))
                writer.write(chunk)
    monkeypatch.undo()
    assert "whole file" in str(caught.value)
    assert sorted(tmp_path.iterdir()) == writer.files
    assert len(writer.files) in (1, 2)


def _failing(number: int) -> object:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


def test_only_plain_files_of_a_directory_are_read(tmp_path: Path) -> None:
    """Links, pipes, directories and other files are left alone; upper case, as FAT shows names, is taken."""
    outside = tmp_path / "outside.bin"
    outside.write_bytes(chunks(1)[0])
    place = tmp_path / "stick"
    (place / "dir.bin").mkdir(parents=True)
    (place / "link.bin").symlink_to(outside)
    os.mkfifo(place / "pipe.bin")
    (place / "photo.jpg").write_bytes(bytes(CHUNK_BYTES))
    with pytest.raises(UserError, match="no files of a bundle"):
        find_files(place)
    (place / "1234ABCD.BIN").write_bytes(chunks(1, 2)[0])
    assert read_all(place) == chunks(1, 2)
    with pytest.raises(UserError, match="plain file"):
        find_files(place / "pipe.bin")


@given(st.integers(0, 5 * CHUNK_BYTES))
@settings(max_examples=30)
def test_a_file_that_was_cut(size: int) -> None:
    """Of a file that ends too early all whole chunks are read, and its end is counted."""
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.bin"
        path.write_bytes(b"".join(chunks(5))[:size])
        files = find_files(Path(directory))
        assert read_all(path) == chunks(5)[: size // CHUNK_BYTES]
        assert files.count_ends() == (size % CHUNK_BYTES != 0)


def test_a_file_that_vanishes(tmp_path: Path) -> None:
    """Chunks that are gone when they are read are counted, and the rest is read."""
    for number in range(3):
        (tmp_path / f"{number}.bin").write_bytes(chunks(2, number)[0])
    files = find_files(tmp_path)
    (tmp_path / "1.bin").unlink()
    places, data = files.read(array("Q", files.places()))
    assert len(places) == 2
    assert data == chunks(2, 0)[0] + chunks(2, 2)[0]
    assert files.lost == 1


def test_bad_blocks_cost_their_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk that the medium does not give is left out, and those behind it are read."""
    (tmp_path / "x.bin").write_bytes(b"".join(chunks(4)))
    real = os.read

    def read(descriptor: int, count: int) -> bytes:
        if os.lseek(descriptor, 0, os.SEEK_CUR) == CHUNK_BYTES:
            raise OSError(errno.EIO, "bad block")
        return real(descriptor, count)

    files = find_files(tmp_path)
    monkeypatch.setattr(os, "read", read)
    _, data = files.read(array("Q", files.places()))
    monkeypatch.undo()
    assert data == b"".join([chunks(4)[0], *chunks(4)[2:]])
    assert files.lost == 1


def test_files_without_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with more files than are taken is refused before all their names are in memory."""
    looked: list[str] = []

    def look(entry: os.DirEntry[str]) -> bool:
        looked.append(entry.name)
        return True

    for number in range(40):
        (tmp_path / f"{number}.bin").touch()
    monkeypatch.setattr(reading, "MAX_FILES", 10)
    monkeypatch.setattr(reading, "_may_be_ours", look)
    with pytest.raises(UserError, match="more than 10"):
        find_files(tmp_path)
    assert len(looked) == 11


def test_nothing_but_zeros(tmp_path: Path) -> None:
    """A file without end that takes no room on its medium costs neither memory nor the node's time."""
    path = tmp_path / "x.bin"
    path.write_bytes(chunks(1)[0])
    os.truncate(path, 1000 * CHUNK_BYTES)
    files = find_files(tmp_path)
    places, data = files.read(array("Q", files.places()))
    assert (len(places), data) == (1, chunks(1)[0])
    assert files.lost == 999
