"""The commands in the documents exist, with the options that are shown; the gate runs the README's own."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest

from berty_core.cli.main import berty

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("plugins/*/README.md")])
BLOCK = re.compile(r"^[ ]*```sh\n(.*?)^[ ]*```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(berty [a-z][^`]*)`")


def lines(path: Path) -> list[str]:
    """Every shown command line that starts `berty`."""
    text = path.read_text()
    shown = [line.strip() for block in BLOCK.findall(text) for line in block.splitlines()]
    return [line for line in [*shown, *INLINE.findall(text)] if re.match(r"berty\b", line)]


def walk(command: click.Command, words: list[str]) -> None:
    """Follow the words through commands and options, as far as they are literal; AssertionError at an unknown one."""
    options = {name: option for option in command.params if isinstance(option, click.Option) for name in option.opts}
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word.startswith("-") and len(word) > 1:
            name = word.split("=")[0]
            assert name in options or name in ("--help", "-h"), f"{command.name} has no option {name}"
            position += not (name not in options or options[name].is_flag or "=" in word)
        elif isinstance(command, click.Group):
            if word.isupper() or "|" in word or word == "...":
                return
            found = command.get_command(click.Context(command), word)
            assert found is not None, f"{command.name} has no command {word}"
            walk(found, words[position:])
            return


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_exist(path: Path) -> None:
    """Each `berty` command that a page shows exists, with each option that is shown."""
    for line in lines(path):
        words = shlex.split(line.split(" < ")[0].split(" 3< ")[0].split(" | ")[0], comments=True)
        walk(berty, words[1:])


def gate() -> Any:
    """The module with which the gate reads the README."""
    spec = importlib.util.spec_from_file_location("readme_command", ROOT / ".ci" / "readme_command.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_begins_with_the_two_commands() -> None:
    """The first two code blocks hold one command line each: the main job, and the tests."""
    first, second = gate().command(1), gate().command(2)
    for line in (first, second):
        assert line.startswith("python3 -m pip install ")
        assert " --target .packages " in line
        assert "./plugins/*/" in line or all(f"./plugins/berty-{name}" in line for name in ("sqlite", "mdns"))
    assert first.endswith(" python3 -m berty_core demo")
    assert second.endswith(" python3 -m pytest -n auto")


def test_more_lines_are_refused() -> None:
    """A block of two lines is an error of the gate, and not half a command."""
    with pytest.raises(ValueError, match="2 lines"):
        gate().command(1, "```sh\na\nb\n```\n")


def test_gate_runs_the_readme() -> None:
    """The gate has no copy of either command: it reads both blocks, and fails if a step fails."""
    text = (ROOT / ".ci" / "run").read_text()
    assert 'line=$(python3 .ci/readme_command.py "$1")' in text
    assert re.findall(r"^step .* readme_block (\d)$", text, re.MULTILINE) == ["1", "2"]
    assert "berty_core demo" not in text
    assert subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=False).returncode == 0
