"""`berty send`, `read` and `tail`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from ..errors import UserError
from .completion import complete_conversation
from .output import hint, json_option, message_text, print_json
from .reach import Reached, ask, reach
from .settings import Settings

MAX_TEXT = 560 * 1024  # bytes; no longer message reaches every member
DEFAULT_TIMEOUT = 30.0


@click.command()
@click.argument("to", shell_complete=complete_conversation)
@click.argument("text")
@click.option("--wait", "state", type=click.Choice(["held", "acknowledged"]), help="End only when it is proven.")
@click.option("--timeout", type=click.FloatRange(min=0), default=DEFAULT_TIMEOUT, show_default=True, metavar="SECONDS")
@json_option
@click.pass_obj
def send(settings: Settings, to: str, text: str, state: str | None, timeout: float, as_json: bool) -> None:
    """Send TEXT to a contact or group (`-` reads it from standard input); prints the message's id once it is stored.

    \b
    Its states, each shown only when proven: stored (on this disk), sent (handed to a live session), held (another
    member's device has it on its disk), acknowledged (another member's device says that it could read it).

    \b
    Examples:
      berty send Bob "See you at six"
      git log -1 | berty send Team -
      berty send Bob "Are you there?" --wait acknowledged --timeout 60
    """
    text = _text(text)
    if state is None:
        _send(settings, to, text, as_json)
        return
    with reach(settings, network=True) as node:
        sent = node.call("send_text", to=to, text=text)
        if not as_json:
            click.echo(sent["id"])
        view = node.call("wait", to=to, id=sent["id"], state=state, timeout=timeout)
        print_json({**sent, **view}) if as_json else hint(_state_words(view))


def _send(settings: Settings, to: str, text: str, as_json: bool) -> None:
    sent, travels = _store(settings, to, text)
    if as_json:
        print_json({**sent, "state": "stored", "node_running": travels})
        return
    click.echo(sent["id"])
    if not travels:
        hint("Stored. It travels when the node runs: `berty run`, or once with `berty sync`.")


def _store(settings: Settings, to: str, text: str) -> tuple[dict[str, Any], bool]:
    sent = ask(settings, "send_text", to=to, text=text)
    from ..runtime.control_socket import Connection  # noqa: PLC0415  a light module; named here for what it tells

    running = Connection.open(settings.home)
    if running is None:
        return sent, False
    with running:
        return sent, running.has_network


def _text(text: str) -> str:
    if text == "-":
        data = sys.stdin.buffer.read(MAX_TEXT + 1)
        text = _decoded(data.removesuffix(b"\n"))
    if not text:
        raise UserError("there is nothing to send: the text is empty")
    size = len(text.encode(errors="surrogateescape"))
    if size > MAX_TEXT:
        raise UserError(f"this text is over the limit of {MAX_TEXT} bytes for a message: send it in parts")
    return _decoded(text.encode(errors="surrogateescape"))


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"the text is no UTF-8 at byte {error.start + 1}: messages are text") from error


def _state_words(view: dict[str, Any]) -> str:
    from .text import safe  # noqa: PLC0415  beside its only use here

    names = ", ".join(sorted({safe(device["name"]) for device in view.get(view["state"], [])}))
    return f"{view['state']} by {names}" if names else str(view["state"])


@click.command()
@click.argument("to", shell_complete=complete_conversation)
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the last N.  [default: all]")
@click.option("--keep-unread", is_flag=True, help="Leave the unread count as it is.")
@json_option
@click.pass_obj
def read(settings: Settings, to: str, last: int | None, keep_unread: bool, as_json: bool) -> None:
    """Print the messages of a conversation in the log's order, which is alike on all devices.

    \b
    Examples:
      berty read Bob
      berty read Hikers --last 20
      berty read Hikers --json | jq -r '.[].text'
    """
    with reach(settings) as node:
        found = _texts(node, to, last or 0, not keep_unread)
        if as_json:
            print_json(list(found))
            return
        for message in found:
            click.echo(message_text(message))


def _texts(node: Reached, to: str, last: int, mark: bool) -> Iterator[dict[str, Any]]:
    messages = node.stream("history", to=to, last=last, mark=mark)
    yield from list(messages)[-last:] if last else messages


@click.command()
@click.argument("to", default="", shell_complete=complete_conversation)
@click.option("--last", type=click.IntRange(min=0), default=0, metavar="N", help="First the last N that came before.")
@click.option("--after", type=click.IntRange(min=0), metavar="NUMBER", help="Begin behind this arrival number (JSON).")
@json_option
@click.pass_obj
def tail(settings: Settings, to: str, last: int, after: int | None, as_json: bool) -> None:
    """Print messages as they arrive, of one conversation or of all, until Ctrl-C.

    What belongs before messages that were here already is marked; `berty read` shows it in its place.
    With --json each message is one line; its `number` counts arrivals, and --after goes on behind it.

    \b
    Examples:
      berty tail Hikers
      berty tail --json | while read -r line; do …; done
    """
    with reach(settings, network=True) as node:
        start = node.call("last_arrival") if after is None else after
        if last and to:
            for message in _texts(node, to, last, True):
                _print_arrival(message, as_json, bool(to))
        for message in node.stream("arrivals", to=to, after=start, read=bool(to)):
            _print_arrival(message, as_json, bool(to))


def _print_arrival(message: dict[str, Any], as_json: bool, single: bool) -> None:
    print_json(message) if as_json else click.echo(message_text(message, conversation=not single))
    sys.stdout.flush()
