"""Every key of a document has the line at which it stands, however oddly the document is written."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from berty_core.settings.locate import locate

from .documents import Path, documents


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every table, key and element of what tomllib read."""
    found = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in found:
        yield (*path, name)
        yield from paths(inner, (*path, name))


@given(documents())
def test_lines_are_those_at_which_it_was_written(document: tuple[str, dict[Path, int]]) -> None:
    """What the writer noted is what is found, and nothing that tomllib reads is without a line."""
    text, lines = document
    found = locate(text)
    assert {path: found.get(path) for path in lines} == lines
    assert set(paths(tomllib.loads(text))) <= set(found)


@given(st.text(alphabet="ab=.[]{}\"'#,\\ \n\r1"))
@example('"""')
@example("[[")
@example("a = [" * 50)
def test_any_text(text: str) -> None:
    """A document that is broken costs no more than time; one that tomllib takes has a line for everything."""
    found = locate(text)
    last = text.count("\n") + 1
    assert all(1 <= line <= last for line in found.values())
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(paths(read)) <= set(found)


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a = 1\nb.c = 2", ("b", "c"), 2),
        ('x = """\n[node]\n"""\n[node]\n', ("node",), 4),
        ("[[a]]\n[[a]]\nb = 1\n[a.c]\nd = 1", ("a", 1, "c", "d"), 5),
        ('[plugins."odd.name"]\r\nk = 1\r\n', ("plugins", "odd.name", "k"), 2),
        ("a = [\n1, { b = 2,\nc = [\n3] } ]", ("a", 1, "c", 0), 4),
    ],
)
def test_some_documents(text: str, path: Path, line: int) -> None:
    """Examples to read."""
    assert locate(text)[path] == line
