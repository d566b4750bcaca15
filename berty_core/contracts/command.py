"""Commands that plugins bring to `berty`, and what such a command is given. Importing this costs nothing.

Invariant: a command asks the node by name and with plain values; it never sees a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import click


class CommandSpec(NamedTuple):
    """One command: its name, one line of help, and how the click command is loaded once somebody types the name."""

    name: str
    help: str
    load: Callable[[], click.Command]


class Reached(Protocol):
    """A node that can be asked: the one that has the home open, or one for as long as the command runs."""

    @property
    def has_network(self) -> bool:
        """Whether it meets others."""

    def call(self, method: str, **params: Any) -> Any:
        """Call a method and return its result; BertyError with words for a person."""

    def stream(self, method: str, **params: Any) -> Iterator[Any]:
        """Call a method that answers again and again."""


class Invocation(Protocol):
    """What click's `pass_obj` gives a plugin's command."""

    @property
    def home(self) -> Path:
        """The directory of the home."""

    def reach(self, *, network: bool = False) -> AbstractContextManager[Reached]:
        """Reach a node while a block runs; `network` wants one that meets others."""

    def progress(self, words: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """Show a progress bar if a person is looking; the block calls what it gets with (done, total)."""

    def safe(self, text: str) -> str:
        """A text that somebody else chose, so that it cannot act on a terminal."""
