"""The tutorial's transport is a member of this workspace: what the page shows is what is tested, and it stays small."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path

import pytest

from berty_core.cli.new_plugin import write_plugin
from berty_core.errors import UserError

ROOT = Path(__file__).parent.parent.parent
RESULT = ROOT / "plugins" / "berty-unix"
PAGE = ROOT / "docs" / "tutorials" / "a-transport.md"
MOST_ADDED, MOST_LINES = 60, 200


def sources(package: Path) -> list[Path]:
    """Everything that an author writes in Python or TOML, by its path in the package."""
    found = [path.relative_to(package) for pattern in ("*.py", "*.toml") for path in package.rglob(pattern)]
    return sorted(found)


def test_page_shows_what_is_tested() -> None:
    """The whole of the driver and of the settings, and each line of the other pieces."""
    text = PAGE.read_text()
    for name in ("driver.py", "config.py"):
        assert f"```python\n{(RESULT / 'berty_unix' / name).read_text()}```" in text
    everything = "".join((RESULT / path).read_text() for path in sources(RESULT))
    for line in ("TRAITS = Traits.of_bus(", "return Probe(False,", "yield config, config, config"):
        shown = next(shown for shown in text.splitlines() if line in shown)
        assert shown.strip() in everything


def test_page_says_what_the_suite_says() -> None:
    """The rule that the mistake breaks has its number and words, and the sums are those of the report."""
    text = PAGE.read_text()
    shown = re.search(r"^rule (\d+) of the transport contract is broken: (.+)$", text, re.MULTILINE)
    assert shown is not None
    report = json.loads((ROOT / "docs" / "reference" / "conformance" / "unix.json").read_text())["reports"][0]
    (rule,) = [rule for rule in report["rules"] if rule["rule"] == int(shown[1])]
    assert (rule["words"], rule["status"]) == (shown[2], "passed")
    assert f"unix {report['passed']} rules passed, {report['skipped']} skipped (" in text


def test_little_has_to_be_written(tmp_path: Path) -> None:
    """At most 60 lines against what `berty plugin new` writes, and at most 200 in the package."""
    template = write_plugin("unix", tmp_path)
    assert (
        {path for path in sources(RESULT) if path.parts[0] != "tests"} <= set(sources(template)) <= set(sources(RESULT))
    )
    added = 0
    for path in sources(template):
        before, after = (place.joinpath(path).read_text().splitlines() for place in (template, RESULT))
        added += sum(line.startswith("+ ") for line in difflib.ndiff(before, after))
    assert 0 < added <= MOST_ADDED
    assert sum(len(path.read_text().splitlines()) for path in (RESULT / "berty_unix").glob("*.py")) <= MOST_LINES


@pytest.mark.parametrize("name", ["", "My-Radio", "1st", "a--b", "a-", "../x", "a b", "a" * 33, "radio\n"])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    """A name that no package can have is refused, and nothing is written."""
    with pytest.raises(UserError, match="cannot be a plugin's name"):
        write_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A directory that is there stays as it is."""
    (tmp_path / "berty-unix").mkdir()
    with pytest.raises(UserError, match="is there already"):
        write_plugin("unix", tmp_path)
    assert not list((tmp_path / "berty-unix").iterdir())


def test_every_name_is_replaced(tmp_path: Path) -> None:
    """Nothing of the template's name is left, in no text and in no file's name."""
    made = write_plugin("berty-lora-868", tmp_path)
    assert made == tmp_path / "berty-lora-868"
    for path in [made, *made.rglob("*")]:
        words = path.name + (path.read_text() if path.is_file() else "")
        assert not any(left in words for left in ("my-radio", "my_radio", "MyRadio"))
    assert (made / "berty_lora_868" / "driver.py").exists()
