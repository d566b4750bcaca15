"""`berty chat`: a conversation in the terminal. What arrives never breaks the line that is being typed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from ..contracts.command import Reached
from ..errors import BertyError
from ..runtime.control_socket import Connection, NodeEnded
from .completion import complete_conversation
from .message import decoded
from .output import STATE_SIGNS, message_text
from .reach import reach
from .settings import Settings
from .text import safe, safe_lines

Print = Callable[[str], None]


@click.command()
@click.argument("to", shell_complete=complete_conversation)
@click.option(
    "--last", type=click.IntRange(min=0), default=10, show_default=True, metavar="N", help="Begin with these."
)
@click.pass_obj
def chat(settings: Settings, to: str, last: int) -> None:
    """Talk with a contact or in a group; Ctrl-D ends it.

    Messages are shown as they arrive; what belongs before messages that were here already is marked.
    Without a terminal, each line of standard input is sent, and what arrives meanwhile is printed.

    \b
    Examples:
      berty chat Bob
      berty chat Hikers --last 50
    """
    with reach(settings, network=True, lasting=True) as node:
        conversation = Conversation(settings, node, to)
        conversation.begin(last)
        with conversation.listening():
            _talk(conversation)


class Conversation:
    """One conversation: what is said, what arrives, and how far the last own message came."""

    def __init__(self, settings: Settings, node: Reached, to: str) -> None:
        self._settings, self._node, self.to = settings, node, to
        self.state = ""
        self.changed: Callable[[], None] = lambda: None
        self._after = 0
        self._watched = ""
        self._shown: set[str] = set()  # these are on the screen already
        self._saying = threading.Lock()
        self._leaving = False

    def begin(self, last: int) -> None:
        """Print the last messages in the log's order."""
        self._after = self._node.call("last_arrival")
        view = self._node.call("group_show", name=self.to)
        click.echo(f"— {safe(view['name'])} —", err=True)
        for message in self._node.stream("history", to=self.to, last=last) if last else ():
            self._shown.add(message["id"])
            click.echo(message_text(message))

    def say(self, text: str) -> None:
        """Send a line, and watch how far it comes."""
        with self._saying:
            sent = self._node.call("send_text", to=self.to, text=text)
            self._shown.add(sent["id"])
        self._watched, self.state = sent["id"], "stored"
        self._spawn(self._watch, sent["id"])

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Print what arrives while the block runs."""
        with self._another() as node:
            self._spawn(self._listen, node)
            try:
                yield
            finally:
                self._leaving = True

    def _listen(self, node: Reached) -> None:
        try:
            for message in node.stream("arrivals", to=self.to, after=self._after, read=True):
                with self._saying:
                    is_shown = message["id"] in self._shown
                if not is_shown:
                    print(message_text(message), flush=True)  # noqa: T201  prompt_toolkit guards print
        except BertyError as error:
            if not self._leaving:
                print(f"— {safe(str(error))}: nothing is sent or shown any longer —", flush=True)  # noqa: T201

    def _watch(self, cid: str) -> None:
        try:
            with self._another() as node:
                for view in node.stream("delivery", to=self.to, id=cid):
                    if self._watched != cid:
                        return
                    self.state = view["state"]
                    self.changed()
        except BertyError:
            return  # the state that was shown last stays

    @contextmanager
    def _another(self) -> Iterator[Reached]:
        """Another way to the same node: a connection does one thing at a time."""
        connection = Connection.open(self._settings.home)
        if connection is None:
            yield self._node  # our own node, where there are no such sockets: it serves several at once
            return
        with connection:
            yield connection

    def _spawn(self, function: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=function, args=arguments, daemon=True).start()


def _talk(conversation: Conversation) -> None:
    """Send line after line until there are no more."""
    lines = _typed(conversation) if sys.stdin.isatty() and sys.stdout.isatty() else _piped()
    for line in lines:
        if not line.strip():
            continue
        try:
            conversation.say(line)
        except NodeEnded:
            raise
        except BertyError as error:
            click.echo("\n".join(safe_lines(str(error))), err=True)


def _piped() -> Iterator[str]:
    for line in sys.stdin.buffer:
        yield decoded(line.removesuffix(b"\n"))


def _typed(conversation: Conversation) -> Iterator[str]:
    from prompt_toolkit import PromptSession  # noqa: PLC0415  slow, and for terminals only
    from prompt_toolkit.patch_stdout import patch_stdout  # noqa: PLC0415

    session: PromptSession[str] = PromptSession()
    conversation.changed = session.app.invalidate
    prompt = f"{safe(conversation.to)}> "
    with patch_stdout():
        while True:
            try:
                yield session.prompt(prompt, bottom_toolbar=lambda: _toolbar(conversation))
            except EOFError:
                return


def _toolbar(conversation: Conversation) -> str:
    if not conversation.state:
        return "Ctrl-D ends"
    return f"your last message: {STATE_SIGNS[conversation.state]}"
