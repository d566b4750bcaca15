"""A place inside a recording that knows its path and remembers which values were read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]
_ABSENT: Any = object()
_SHORTENED = re.compile(r"sha256:([0-9a-f]{64}):len:(\d+)")
_NAMED = re.compile(r"[A-Za-z][A-Za-z0-9_() -]{0,40}")
_RANDOM = re.compile(r"[0-9a-f]{16,}|bafy[a-z2-7]+|Qm\w{44}")


class Absent(Exception):
    """A check needs a value that the recording does not have, or has only as a digest."""


class Place:
    """A value of a recording. Absent places are false; reading a value marks it as read."""

    __slots__ = ("path", "read_paths", "value")

    def __init__(self, value: Any, path: Path, read: set[Path]) -> None:
        self.value = value
        self.path = path
        self.read_paths = read

    def __bool__(self) -> bool:
        return self.value is not _ABSENT

    def __getitem__(self, key: str | int) -> Place:
        value = _ABSENT
        if isinstance(self.value, dict):
            value = self.value.get(key, _ABSENT)
        elif isinstance(self.value, list) and isinstance(key, int) and key < len(self.value):
            value = self.value[key]
        return Place(value, (*self.path, key), self.read_paths)

    def __iter__(self) -> Iterator[Place]:
        if isinstance(self.value, list):
            for index in range(len(self.value)):
                yield self[index]

    def items(self) -> Iterator[tuple[str, Place]]:
        """Keys and places of a mapping; nothing for any other value."""
        if isinstance(self.value, dict):
            for key in self.value:
                yield key, self[key]

    def take(self) -> Any:
        """The value with everything below it; Absent if there is none."""
        if self.value is _ABSENT:
            raise Absent(f"there is no {'.'.join(general(self.path))}")
        self.read_paths.add(self.path)
        return self.value

    @property
    def shortened(self) -> tuple[str, int] | None:
        """Digest and length of a value that the recorder replaced by them."""
        match = _SHORTENED.fullmatch(self.value) if isinstance(self.value, str) else None
        return (match[1], int(match[2])) if match else None

    def text(self) -> str:
        """A text; Absent if it was shortened, TypeError if it is something else."""
        value = self.take()
        if not isinstance(value, str):
            raise TypeError(f"text expected, found {type(value).__name__}")
        if self.shortened:
            raise Absent(f"{'.'.join(general(self.path))} is shortened to its digest")
        return value

    def bytes(self) -> bytes:
        """Bytes, which stand in hexadecimal."""
        return bytes.fromhex(self.text())

    def number(self) -> int:
        """An integer."""
        value = self.take()
        if type(value) is not int:
            raise TypeError(f"integer expected, found {type(value).__name__}")
        return value

    def optional(self) -> Any:
        """The value, or None if there is none."""
        return self.take() if self else None


def show_path(path: Path) -> str:
    """A path as people write it: `logs[2].entries[0].cid`."""
    text = ""
    for part in path:
        plain = isinstance(part, str) and _NAMED.fullmatch(part)
        text += f".{part}" if plain else f"[{part if isinstance(part, int) else repr(_cut(part))}]"
    return text.lstrip(".") or "(the whole file)"


def _cut(text: str) -> str:
    return text if len(text) <= 64 else text[:40] + "…" + text[-16:]


def unread_sections(root: Any, read: set[Path]) -> list[str]:
    """The parts of which no value at all was read, by their general names; each as short as it can be."""
    general_read = {general(path) for path in read}
    prefixes = {path[:length] for path in general_read for length in range(len(path) + 1)}
    leaves = {general(path) for path in _leaves(root, ())}
    unread = set()
    for leaf in leaves:
        if any(leaf[:length] in general_read for length in range(len(leaf) + 1)):
            continue
        lengths = (length for length in range(1, len(leaf)) if leaf[:length] not in prefixes)
        length = next(lengths, len(leaf))
        unread.add(leaf[:length])
    return sorted(".".join(path).replace(".[]", "[]") for path in unread)


def general(path: Path) -> tuple[str, ...]:
    """A path with every index and every random name replaced, so that equal sections have equal names."""
    return tuple(
        "[]" if isinstance(part, int) else "*" if _RANDOM.search(part) or part.isdigit() else part for part in path
    )


def _leaves(value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    elif value not in ({}, []):
        yield path
