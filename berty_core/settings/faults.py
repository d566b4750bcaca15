"""Where a value was set, and what is wrong with it, in words for a person."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import Literal

import attrs

KeyPath = tuple[str, ...]


@attrs.frozen
class Origin:
    """Where a value was set. `text` is what was typed where quotes may be left out; None in a file."""

    kind: Literal["default", "file", "environment", "option"] = "default"
    name: str = ""  # the file, the variable, or the whole option
    line: int = 0
    text: str | None = None

    def __str__(self) -> str:
        if self.kind == "default":
            return "default"
        return f"{self.name}:{self.line}" if self.line else self.name


DEFAULT = Origin()


@attrs.frozen
class Fault:
    """One thing that is wrong. `path` begins with the table: ("plugins", "mdns", "port"); empty: all of the source."""

    origin: Origin
    path: KeyPath
    reason: str

    @property
    def table(self) -> str:
        """The table as its heading writes it, without brackets."""
        return ".".join(self.path[: table_length(self.path)])

    @property
    def key(self) -> str:
        """The key below the table; empty for the table as a whole."""
        return ".".join(self.path[table_length(self.path) :])

    def __str__(self) -> str:
        where = f"{self.origin}: " if self.origin.kind != "default" else ""
        table = f"[{self.table}] " if self.path else ""
        return f"{where}{table}{f'{self.key}: ' if self.key else ''}{self.reason}"


def table_length(path: Sequence[str]) -> int:
    """How many parts of a path name its table: one for `node`, two for `plugins.NAME`."""
    return 2 if path and path[0] == "plugins" else 1


def did_you_mean(word: str, known: Collection[str], *, otherwise: str = "there are") -> str:
    """The end of a sentence about a word that is not known."""
    near = difflib.get_close_matches(word, known, 1)
    if near:
        return f", did you mean {near[0]}?"
    return f"; {otherwise} {', '.join(sorted(known))}" if known and otherwise else ""
