"""Reading recordings from disk: plain, compressed, archives, whole directories; what each is, is told by content."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

LIMIT = 1 << 30
_SUFFIXES = (".json", ".json.gz", ".tar", ".tar.gz", ".tgz")
# A file is of the first format of which it has a section of the right type.
_SECTIONS: list[tuple[str, str, type]] = [
    ("negative", "cases", list),
    ("libp2p conversation", "connections", list),
    ("noise", "vectors", list),
    ("links", "links", list),
    ("export", "exports", list),
    ("facts", "facts", list),
    ("ipfs-log", "published", dict),
    ("ipfs-log", "generated_by_go", dict),
    ("ipfs-log", "weshnet", dict),
    ("keys", "accounts", list),
    ("keys", "groups", list),
    ("keys", "contact_pairs", list),
    ("keys", "stores", list),
    ("keys", "rendezvous_points", list),
    ("keys", "out_of_store", list),
    ("logs", "logs", dict),
    ("logs", "replica_orders", list),
    ("logs", "own_chains", list),
    ("logs", "opened_by", dict),
    ("logs", "reopen_from_disk", dict),
    ("events", "events", list),
]


class Unreadable(Exception):
    """A file that cannot be read, or whose format is not known here."""


@attrs.frozen
class Source:
    """One recording: where it is from, its format, its content as JSON or as the members of an archive."""

    name: str
    format: str
    root: Any


@attrs.frozen
class Member:
    """One file inside an archive with its header."""

    name: str
    data: bytes
    header: dict[str, Any]


def expand(path: Path) -> Iterator[Path]:
    """The files that a path stands for: itself, or all recordings below a directory, in order."""
    if not path.is_dir():
        yield path
        return
    for child in sorted(path.rglob("*")):
        if child.is_file() and child.name.endswith(_SUFFIXES):
            yield child


def read(path: Path) -> Source:
    """Read one file; Unreadable says why not."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    try:
        if data[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
                data = stream.read(LIMIT)
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(f"damaged gzip data: {error}") from error
    if data[257:262] == b"ustar":
        return Source(str(path), "archive", _members(data))
    try:
        root = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"neither JSON nor a tar archive: {error}") from error
    return Source(str(path), _format(root), root)


def _format(root: Any) -> str:
    if isinstance(root, dict):
        for name, section, kind in _SECTIONS:
            if isinstance(root.get(section), kind):
                return name
    raise Unreadable("none of the formats that are known here: no section of theirs is in it")


def _members(data: bytes) -> dict[str, Any]:
    members = []
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for info in archive:
                stream = archive.extractfile(info)
                header = {
                    "name": info.name,
                    "size": info.size,
                    "mode": info.mode,
                    "modtime": int(info.mtime),
                    "typeflag": info.type.decode(),
                    "uid": info.uid,
                    "uname": info.uname,
                }
                members.append(Member(info.name, stream.read() if stream else b"", header))
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise Unreadable(f"damaged tar archive: {error}") from error
    return {"members": members, "length": len(data)}
