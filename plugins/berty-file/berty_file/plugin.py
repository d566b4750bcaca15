"""The hooks of berty-file. Invariant: importing this module costs nothing, for `berty --help` does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from berty_core.contracts.command import CommandSpec
from berty_core.contracts.hookspecs import hookimpl

if TYPE_CHECKING:
    import click

CORE = ">=0.1,<1"


def _load() -> click.Command:
    from .command import file  # noqa: PLC0415  only when it is used

    return file


@hookimpl
def berty_commands() -> Sequence[CommandSpec]:
    """Give `berty file`."""
    return (CommandSpec("file", "Carry messages by hand, as sealed files on any medium.", _load),)
