"""`berty plugin new`: a working package for the author of a driver. The template is a real package, tested as such."""

from __future__ import annotations

import re
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import click

from ..errors import UserError
from .output import hint

TEMPLATE = "berty-my-radio"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
MAX_NAME = 32
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")


@click.command()
@click.argument("name")
@click.option(
    "--in",
    "parent",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    metavar="DIR",
    help="Where to put the package's directory.  [default: here]",
)
def new(name: str, parent: Path) -> None:
    """Write a package for a transport of your own, which installs and passes its conformance tests as it is.

    \b
    Examples:
      berty plugin new my-radio
      berty plugin new lora-868 --in ~/src
    """
    made = write_plugin(name, parent)
    click.echo(f"{made} is a working transport over a medium that stands in for yours. Now:")
    for line in (f"cd {made}", "python3 -m pip install -e '.[test]'", "python3 -m pytest"):
        click.echo(f"  {line}")
    hint("its README.md says what to replace, file by file")
    _say_taken(made.name.removeprefix("berty-"))


def _say_taken(name: str) -> None:
    """Of two plugins with one name only one is loaded; somebody who writes the second should know."""
    from ..plugins import installed  # noqa: PLC0415  slow

    if any(point.name == name for point in installed()):
        hint(f"a plugin named {name} is installed already: only one of the two can be used")


def write_plugin(name: str, parent: Path) -> Path:
    """Write the package `berty-NAME` below `parent`; its directory. UserError, with nothing written."""
    name = name.removeprefix("berty-")
    if not NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise UserError(f"{name!r} cannot be a plugin's name: small letters, digits and single hyphens, like my-radio")
    target = parent / f"berty-{name}"
    if target.exists():
        raise UserError(f"{target} is there already: choose another name, or another directory with --in")
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        with as_file(files(__package__) / "scaffold" / TEMPLATE) as template:
            shutil.copytree(template, unfinished, ignore=LEFT_OUT)
        _rename(unfinished, name)
        unfinished.rename(target)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise UserError(f"{target} cannot be written: {error.strerror}") from error
    return target


def _rename(directory: Path, name: str) -> None:
    """Put the name in place of the template's, in texts and in names of files."""
    words = name.split("-")
    spellings = {
        "my-radio": name,
        "my_radio": "_".join(words),
        "MyRadio": "".join(word.capitalize() for word in words),
        "my radio": " ".join(words),
    }
    for path in sorted(directory.rglob("*"), reverse=True):  # what is in a directory before the directory
        if path.is_file():
            path.write_text(_replace(path.read_text(encoding="utf-8"), spellings), encoding="utf-8")
        path.rename(path.with_name(_replace(path.name, spellings)))


def _replace(text: str, spellings: dict[str, str]) -> str:
    return re.sub("|".join(spellings), lambda found: spellings[found[0]], text)
