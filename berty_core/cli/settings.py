"""What was said before the command: which home, which overrides, and where the home's passphrase comes from.

Every command begins here, so nothing slow is imported: attrs would be a fifth of a short command's time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from ..errors import UserError

if TYPE_CHECKING:
    from ..config import NodeConfig
    from ..contracts.command import Reached

MAX_PASSPHRASE = 4096  # bytes
F = TypeVar("F", bound=Callable[..., Any])


class Passphrase(NamedTuple):
    """Where a passphrase is read from; never the command line itself, which every user of the machine can see."""

    file: Path | None = None
    descriptor: int | None = None
    prompt: bool = False
    known: str = ""  # it was read already

    def __repr__(self) -> str:
        return f"Passphrase(file={self.file}, descriptor={self.descriptor}, prompt={self.prompt})"

    @property
    def is_given(self) -> bool:
        """Whether a person named a source."""
        return bool(self.known) or self.prompt or self.file is not None or self.descriptor is not None

    def read(self, question: str = "Passphrase", *, confirm: bool = False) -> str:
        """Read it from its source, at last from the terminal; UserError."""
        if self.known:
            return self.known
        if self.file is not None:
            return _from_file(self.file)
        if self.descriptor is not None:
            return _from_descriptor(self.descriptor)
        if not sys.stdin.isatty():
            raise UserError(f"{question}: there is no terminal to ask for it; give --passphrase-file")
        answer: str = click.prompt(question, hide_input=True, confirmation_prompt=confirm, err=True)
        return answer


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _one_line(file.read(MAX_PASSPHRASE + 1), str(path))
    except OSError as error:
        raise UserError(f"the passphrase file {path} cannot be read: {error.strerror}") from error


def _from_descriptor(number: int) -> str:
    try:
        with os.fdopen(number, "rb", closefd=False) as file:
            return _one_line(file.read(MAX_PASSPHRASE + 1), f"descriptor {number}")
    except OSError as error:
        raise UserError(f"descriptor {number} cannot be read: {error.strerror}") from error


def _one_line(data: bytes, source: str) -> str:
    line = data.split(b"\n")[0].removesuffix(b"\r")
    if not line or len(line) > MAX_PASSPHRASE:
        raise UserError(
            f"{source}: its first line is to be the passphrase, and it is {'too long' if line else 'empty'}"
        )
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: the passphrase is no UTF-8 text") from error


class Settings(NamedTuple):
    """The options of `berty` itself."""

    home: Path
    overrides: tuple[str, ...] = ()
    passphrase: Passphrase = Passphrase()

    def config(self) -> NodeConfig:
        """The home's configuration with the overrides; ConfigError."""
        from ..config import read_config  # noqa: PLC0415  slow; only who opens a home needs it

        return read_config(self.home, self.overrides)

    def reach(self, *, network: bool = False) -> AbstractContextManager[Reached]:
        """Reach a node while a block runs, for a plugin's command."""
        from .reach import reach  # noqa: PLC0415  slow

        return reach(self, network=network)

    def progress(self, words: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """A progress bar, for a plugin's command."""
        from .progress import progress  # noqa: PLC0415  only long work needs it

        return progress(words)

    def safe(self, text: str) -> str:
        """A text that somebody else chose, as it may be shown."""
        from .text import safe  # noqa: PLC0415

        return safe(text)


def default_home() -> Path:
    """Where the home is unless something else is said."""
    from platformdirs import user_data_path  # noqa: PLC0415  not needed with --home

    return user_data_path("berty")


def passphrase_options(what: str) -> Callable[[F], F]:
    """Give a command --passphrase, --passphrase-file and --passphrase-fd; it gets one argument, `passphrase`."""

    def decorate(command: F) -> F:
        def with_source(
            *args: Any, passphrase: bool, passphrase_file: Path | None, passphrase_fd: int | None, **rest: Any
        ) -> Any:
            return command(*args, passphrase=Passphrase(passphrase_file, passphrase_fd, passphrase), **rest)

        with_source.__name__, with_source.__doc__ = command.__name__, command.__doc__
        with_source.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
        for option in (
            click.option("--passphrase-fd", type=int, metavar="N", help="Read it from an open file descriptor."),
            click.option(
                "--passphrase-file", type=click.Path(path_type=Path), metavar="FILE", help="Its first line is it."
            ),
            click.option("--passphrase", is_flag=True, help=f"Ask for {what}."),
        ):
            option(with_source)
        return with_source  # type: ignore[return-value]

    return decorate
