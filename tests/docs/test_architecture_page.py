"""The page on the architecture speaks of modules that are there."""

from __future__ import annotations

import re
from pathlib import Path

import berty_core

CORE = Path(berty_core.__file__).parent
PAGE = CORE.parent / "docs" / "explanation" / "architecture.md"
ROW = re.compile(r"^\| (?:`(\w+)`)? ?\| (`.+`|one module .+) \|", re.MULTILINE)


def test_rooms_are_there() -> None:
    """Each module of the table of rooms is in its ring; `…` stands for the rest of a name."""
    rooms = PAGE.read_text().partition("## Rooms")[2].partition("\n## ")[0]
    ring, found = "", 0
    for named, modules in ROW.findall(rooms):
        ring = named or ring
        for module in re.findall(r"`([\w…]+)`", modules):
            place = CORE / ring / module
            assert list(place.parent.glob(f"{place.name}.py".replace("…", "*"))) or place.is_dir(), f"{ring}/{module}"
            found += 1
    assert found > 50


def test_paths_are_there() -> None:
    """So is each module that the text names with its ring."""
    named = set(re.findall(r"`((?:runtime|protocol|contracts|cli)/\w+\.py)`", PAGE.read_text()))
    assert len(named) > 8
    assert not [path for path in named if not (CORE / path).is_file()]
