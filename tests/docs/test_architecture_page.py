"""The page on the architecture speaks of modules that are there."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import berty_core

CORE = Path(berty_core.__file__).parent
PAGE = CORE.parent / "docs" / "explanation" / "architecture.md"
ROW = re.compile(r"^\| (?:`(\w+)`)? ?\| (`.+`|one module .+) \|", re.MULTILINE)


def modules_in(ring: str) -> set[str]:
    """Names of a ring's modules, and of its directories with a slash."""
    inside = [path for path in (CORE / ring).iterdir() if not path.name.startswith("_")]
    return {f"{path.name}/" if path.is_dir() else path.stem for path in inside}


def test_rooms_are_there() -> None:
    """All modules of the table of rooms are there, and none is missing in it; `…` stands for the rest of a name."""
    rooms = PAGE.read_text().partition("## Rooms")[2].partition("\n## ")[0]
    ring, found = "", dict[str, set[str]]()
    for named, modules in ROW.findall(rooms):
        ring = named or ring
        for pattern in re.findall(r"`([\w…/]+)`", modules):
            fitting = fnmatch.filter(modules_in(ring), pattern.replace("…", "*"))
            assert fitting, f"{ring}/{pattern}"
            found.setdefault(ring, set()).update(fitting)
    for whole in ("protocol", "runtime"):
        assert modules_in(whole) == found[whole]


def test_paths_are_there() -> None:
    """So is each module that the text names with its ring."""
    named = set(re.findall(r"`((?:runtime|protocol|contracts|cli)/[\w/]+\.py)`", PAGE.read_text()))
    assert len(named) > 8
    assert not [path for path in named if not (CORE / path).is_file()]
