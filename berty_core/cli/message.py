"""`berty send`, `read` and `tail`."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..errors import UserError
from ..runtime.control_socket import NotInTime
from .completion import complete_conversation
from .output import hint, json_option, message_text, print_json
from .reach import ask_who, reach
from .settings import Settings

MAX_TEXT = 560 * 1024  # bytes; no longer message reaches every member
DEFAULT_TIMEOUT = 30.0


@click.command()
@click.argument("to", shell_complete=complete_conversation)
@click.argument("text")
@click.option("--wait", "state", type=click.Choice(["held", "acknowledged"]), help="End only when it is proven.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=DEFAULT_TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for it.",
)
@json_option
@click.pass_obj
def send(settings: Settings, to: str, text: str, state: str | None, timeout: float, as_json: bool) -> None:
    """Send TEXT to a contact or group.

    `-` reads the text from standard input. The message's id is printed once it is stored.

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
        _store(settings, to, text, as_json)
    else:
        _deliver(settings, to, text, state, timeout, as_json)


def _store(settings: Settings, to: str, text: str, as_json: bool) -> None:
    sent, travels = ask_who(settings, "send_text", to=to, text=text)
    if as_json:
        print_json({**sent, "state": "stored", "sent": [], "held": [], "acknowledged": []})
        return
    click.echo(sent["id"])
    if not travels:
        hint("Stored. It travels when the node runs: `berty run`, or once with `berty sync`.")


def _deliver(settings: Settings, to: str, text: str, state: str, timeout: float, as_json: bool) -> None:
    with reach(settings, network=True) as node:
        sent = node.call("send_text", to=to, text=text)
        if not as_json:
            click.echo(sent["id"])
        try:
            view = node.call("wait", to=to, id=sent["id"], state=state, timeout=timeout)
        except NotInTime:
            if as_json:  # it is stored all the same, and must not be sent again
                print_json({**sent, **node.call("message_state", to=to, cid=sent["id"])})
            raise
        print_json({**sent, **view}) if as_json else hint(_state_words(view))


def _text(text: str) -> str:
    if text == "-":
        data = sys.stdin.buffer.read(MAX_TEXT + 1)
        text = decoded(data.removesuffix(b"\n"))
    if not text:
        raise UserError("there is nothing to send: the text is empty")
    size = len(text.encode(errors="surrogateescape"))
    if size > MAX_TEXT:
        raise UserError(f"this text is over the limit of {MAX_TEXT} bytes for a message: send it in parts")
    return decoded(text.encode(errors="surrogateescape"))


def decoded(data: bytes) -> str:
    """Bytes that are to be a message; UserError if they are no text."""
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
    """Print the messages of a conversation.

    They come in the log's order, which is alike on all devices.

    \b
    Examples:
      berty read Bob
      berty read Hikers --last 20
      berty read Hikers --json | jq -r '.[].text'
    """
    with reach(settings) as node:
        found = node.stream("history", to=to, last=last or 0, mark=not keep_unread)
        if as_json:
            print_json(list(found))
            return
        shown = 0
        for shown, message in enumerate(found, 1):  # noqa: B007  counted to the end
            click.echo(message_text(message))
        if not shown:
            hint("There are no messages yet.")


@click.command()
@click.argument("to", default="", shell_complete=complete_conversation)
@click.option("--last", type=click.IntRange(min=0), default=0, metavar="N", help="First the last N that came before.")
@click.option("--after", type=click.IntRange(min=0), metavar="NUMBER", help="Begin behind this arrival number (JSON).")
@json_option
@click.pass_obj
def tail(settings: Settings, to: str, last: int, after: int | None, as_json: bool) -> None:
    """Print messages as they arrive, until Ctrl-C.

    Without TO, of all conversations. What belongs before messages that were here already is marked;
    `berty read` shows it in its place. With --json each message is one line; its `number` counts arrivals,
    and --after goes on behind it.

    \b
    Examples:
      berty tail Hikers
      berty tail --json | while read -r line; do …; done
    """
    if last and not to:
        raise click.UsageError("--last needs a conversation: berty tail TO --last N")
    with reach(settings, network=True, lasting=True) as node:
        start = node.call("last_arrival") if after is None else after
        shown: set[str] = set()  # what comes while the first ones are printed is among both
        if last:
            for message in node.stream("history", to=to, last=last):
                shown.add(message["id"])
                _print_arrival(message, as_json, single=True)
        for message in node.stream("arrivals", to=to, after=start, read=bool(to)):
            if message["id"] not in shown:
                _print_arrival(message, as_json, bool(to))


def _print_arrival(message: dict[str, Any], as_json: bool, single: bool) -> None:
    print_json(message) if as_json else click.echo(message_text(message, conversation=not single))
    sys.stdout.flush()
