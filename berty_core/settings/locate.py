"""Find the lines at which a TOML document sets its tables and keys; tomllib gives none.

Invariant: of a document that tomllib accepts, every table and key has a line. Of others it finds what it can.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'"
    r"|\#[^\n]*|[ \t\r]+|[\[\]{}=,\n]|[^\s\[\]{}=,\#\"']+",
    re.DOTALL,
)  # fmt: skip


def locate(text: str) -> dict[Path, int]:
    """Line of each table and key by its path; an element of an array of tables is a number in the path."""
    lines: dict[Path, int] = {}
    arrays: dict[Path, int] = {}
    tokens = _Tokens(text)
    table: Path = ()
    while tokens.skip_empty():
        if tokens.next != "[":
            _pair(tokens, table, lines)
            continue
        line, brackets = tokens.line, tokens.take()
        brackets += tokens.take() if tokens.next == "[" else ""
        table = _header(tokens.key("]"), arrays, is_array=brackets == "[[")
        _note(lines, table, line)
        for _ in brackets:
            tokens.take()
    return lines


class _Tokens:
    """The document in tokens, one ahead, with the line at which the next one begins."""

    def __init__(self, text: str) -> None:
        self._found = _with_lines(text)
        self.line, self.next = next(self._found)

    def take(self) -> str:
        taken = self.next
        self.line, self.next = next(self._found, (self.line, ""))
        return taken

    def skip_empty(self) -> bool:
        """Go to the next thing that is said; False at the end."""
        while self.next and (self.next.isspace() or self.next.startswith("#")):
            self.take()
        return bool(self.next)

    def key(self, end: str) -> tuple[str, ...]:
        """A key up to `end`, which stays: dotted and quoted ones as tomllib reads them."""
        written = ""
        while self.next and self.next not in ("\n", end):
            written += self.take()
        return _parts(written)


def _with_lines(text: str) -> Iterator[tuple[int, str]]:
    line = 1
    for match in _TOKEN.finditer(text):
        yield line, match[0]
        line += match[0].count("\n")
    yield line, ""


def _parts(written: str) -> tuple[str, ...]:
    try:
        value: Any = tomllib.loads(f"{written}=0")
    except tomllib.TOMLDecodeError:
        return (written.strip(),)
    parts = []
    while isinstance(value, dict) and len(value) == 1:
        ((part, value),) = value.items()
        parts.append(part)
    return tuple(parts)


def _header(parts: tuple[str, ...], arrays: dict[Path, int], *, is_array: bool) -> Path:
    """The path of a table: below an array of tables it belongs to the last element."""
    path: Path = ()
    for position, part in enumerate(parts, 1):
        path = (*path, part)
        if is_array and position == len(parts):
            arrays[path] = arrays.get(path, -1) + 1
        if path in arrays:
            path = (*path, arrays[path])
    return path


def _note(lines: dict[Path, int], path: Path, line: int) -> None:
    """Keep the first line of a path and of each table around it."""
    for length in range(1, len(path) + 1):
        lines.setdefault(path[:length], line)


def _pair(tokens: _Tokens, table: Path, lines: dict[Path, int]) -> None:
    line = tokens.line
    path = (*table, *tokens.key("="))
    _note(lines, path, line)
    tokens.take()
    _value(tokens, path, lines)


def _value(tokens: _Tokens, path: Path, lines: dict[Path, int]) -> None:
    """Pass over a value, up to the comma, bracket or line end behind it."""
    while tokens.next.isspace() and tokens.next != "\n":
        tokens.take()
    if tokens.next in ("{", "["):
        _nested(tokens, path, lines)
    while tokens.next and tokens.next not in (",", "}", "]", "\n"):
        tokens.take()


def _nested(tokens: _Tokens, path: Path, lines: dict[Path, int]) -> None:
    """An inline table or an array."""
    opened, count = tokens.take(), 0
    while tokens.skip_empty() and tokens.next not in ("}", "]"):
        if tokens.next == ",":
            tokens.take()
            count += 1
        elif opened == "{":
            _pair(tokens, path, lines)
        else:
            _note(lines, (*path, count), tokens.line)
            _value(tokens, (*path, count), lines)
    tokens.take()
