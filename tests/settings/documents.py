"""Odd but valid TOML documents, each with the lines at which its keys stand, known by how it was written."""

from __future__ import annotations

import json
import re

import attrs
from hypothesis import strategies as st

Path = tuple[str | int, ...]
WORDS = st.sampled_from(["a", "b", "node", "x-y", "1", "é", "a b", 'q"q', "a.b", "#", "[", "'", "", "=", "tab\t"])
SPACE = st.sampled_from(["", " ", "\t", "  "])
VALUES = st.sampled_from(
    [
        "1", "-0.5e3", "true", "inf", "1979-05-27 07:32:00Z", '"plain"', '"a\\"]#\\\\"', "'a\\'", '""', "''",
        '"""a"""', '"""\na = 1\n[b]\n"quoted" """', '"""a""""', '"""\\\n  b"""', "'''\n[x]\ny = 2\n'''", "'''a''''",
        "[]", "[\n]", "{}", '["]", "}", \'#\']', "[ # ]\n1,\n# [x]\n2, ]", "[[1], [[2]],\n[3]]",
    ]
)  # fmt: skip


@attrs.define
class Written:
    """A document in the making."""

    text: str = ""
    lines: dict[Path, int] = attrs.field(factory=dict)

    def note(self, path: Path) -> None:
        line = self.text.count("\n") + 1
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)


def key(word: str, style: int) -> str:
    """A word as a key: bare where it can be, or in one of the two kinds of quotes."""
    if style == 0 and re.fullmatch("[A-Za-z0-9_-]+", word):
        return word
    if style == 1 and "'" not in word and word.isprintable():
        return f"'{word}'"
    return json.dumps(word, ensure_ascii=style == 2)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[Path, int]]:
    """A document with dotted and quoted keys, tables, arrays of tables, inline tables and values of many lines."""
    written = Written()
    names = iter(f"k{number}" for number in range(1000))  # no key stands twice
    _pairs(draw, written, (), names)
    for _ in range(draw(st.integers(0, 4))):
        written.text += draw(st.sampled_from(["", "\n", "# [none]\n", "  \n"]))
        path, opened, closed = (next(names),), "[", "]"
        inner = draw(st.lists(WORDS, max_size=2))
        for element in range(draw(st.integers(1, 2)) if draw(st.booleans()) else 0):
            opened, closed = "[[", "]]"
            _heading(draw, written, (*path, *inner), (*path, *inner, element), opened, closed)
            _pairs(draw, written, (*path, *inner, element), names)
        if opened == "[":
            _heading(draw, written, (*path, *inner), (*path, *inner), opened, closed)
            _pairs(draw, written, (*path, *inner), names)
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    return written.text.replace("\n", ending), written.lines


def _heading(draw: st.DrawFn, written: Written, shown: Path, path: Path, opened: str, closed: str) -> None:
    written.text += draw(SPACE)
    written.note(path)
    written.text += opened + draw(SPACE) + _dotted(draw, shown) + draw(SPACE) + closed + draw(_END)


def _dotted(draw: st.DrawFn, path: Path) -> str:
    dot = draw(SPACE) + "." + draw(SPACE)
    return dot.join(key(str(part), draw(st.integers(0, 2))) for part in path)


_END = st.sampled_from(["\n", " # c [x] = 'y\n", "\t\n\n"])


def _pairs(draw: st.DrawFn, written: Written, table: Path, names: object) -> None:
    for _ in range(draw(st.integers(0, 3))):
        written.text += draw(SPACE)
        _pair(draw, written, table, names)
        written.text += draw(_END)


def _pair(draw: st.DrawFn, written: Written, table: Path, names: object, depth: int = 0) -> None:
    path = (next(names), *draw(st.lists(WORDS, max_size=2)))  # type: ignore[call-overload]
    written.note((*table, *path))
    written.text += _dotted(draw, path) + draw(SPACE) + "=" + draw(SPACE)
    if depth < 2 and draw(st.booleans()):
        _inline(draw, written, (*table, *path), names, depth)
    else:
        written.text += draw(VALUES)


def _inline(draw: st.DrawFn, written: Written, path: Path, names: object, depth: int) -> None:
    """An inline table, alone or as the elements of an array of many lines."""
    if draw(st.booleans()):
        written.text += "{ "
        for position in range(draw(st.integers(0, 2))):
            written.text += ", " if position else ""
            _pair(draw, written, path, names, depth + 1)
        written.text += " }"
        return
    written.text += "["
    for position in range(draw(st.integers(0, 2))):
        written.text += draw(st.sampled_from(["", "\n", " # ]\n  "])) + "{"
        _pair(draw, written, (*path, position), names, depth + 1)
        written.text += "},"
    written.text += draw(st.sampled_from(["", "\n"])) + "]"
