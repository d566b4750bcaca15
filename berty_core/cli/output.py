"""What commands print: data as JSON with stable keys, or lines for people. Remote text passes `text.safe` here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from .text import message_lines, pad, safe, width

F = TypeVar("F", bound=Callable[..., Any])
DAY = 86_400
SHORT_ID = 12
STATE_SIGNS = {"stored": "stored", "sent": "sent, unconfirmed", "held": "held", "acknowledged": "acknowledged"}


def json_option(command: F) -> F:
    """Give a command `--json`; it gets `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print data as JSON, for programs.")(command)


def print_json(value: Any) -> None:
    """Print a value on one line, in ASCII: no control character of anybody reaches the terminal."""
    click.echo(json.dumps(value))


def hint(words: str) -> None:
    """Say something to a person that is no part of the answer."""
    click.echo(words, err=True)


def table(rows: Iterable[Sequence[str]]) -> None:
    """Print safe texts in columns."""
    lines = [list(row) for row in rows]
    if not lines:
        return
    columns = [max(width(line[index]) for line in lines) for index in range(len(lines[0]))]
    for line in lines:
        click.echo("  ".join(pad(cell, size) for cell, size in zip(line, columns, strict=True)).rstrip())


def clock(seconds: float) -> str:
    """A time as a person here reads it: the hour if it is of today, else with its date."""
    if seconds <= 0:
        return "--:--:--"
    try:
        then = time.localtime(seconds)
    except (OverflowError, ValueError, OSError):
        return "--:--:--"
    today = time.localtime()[:3] == then[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M", then)


def message_text(message: dict[str, Any], *, conversation: bool = False) -> str:
    """A message as one or more lines for a person."""
    where = f"{safe(message['group_name'])} · " if conversation else ""
    state = f" [{STATE_SIGNS[message['state']]}]" if message.get("state") else ""
    late = " (belongs earlier)" if message.get("late") else ""
    odd = " (by a wrong clock)" if message.get("sent_implausible") else ""
    prefix = f"{clock(message['sent'] or message['received'])}{odd}{late} {where}{safe(message['sender'])}{state}: "
    if message["kind"] == "invitation":
        join = f"`berty group join {message['id']}`"
        return message_lines(prefix, f"invites you to a group: {join}" if not message["mine"] else message["text"])
    return message_lines(prefix, message["text"])


def print_contacts(contacts: list[dict[str, Any]]) -> None:
    """A line for each contact."""
    words = {
        "to_request": "asked, not reached yet",
        "received": "asks you",
        "added": "contact",
        "removed": "removed",
        "discarded": "discarded",
        "blocked": "blocked",
    }
    table(
        [
            safe(view["name"]),
            words.get(view["state"], view["state"]),
            f"{view['unread']} unread" if view["unread"] else "",
            view["id"][:SHORT_ID],
            _calls_itself(view),
        ]
        for view in contacts
    )


def _calls_itself(view: dict[str, Any]) -> str:
    remote = view.get("remote_name", "")
    return f"calls itself {safe(remote)}" if remote and remote != view["name"] else ""


def print_groups(groups: list[dict[str, Any]]) -> None:
    """A line for each group."""
    table(
        [
            safe(view["name"]),
            view["kind"],
            f"{view['members']} member{'s' if view['members'] != 1 else ''}",
            f"{view['unread']} unread" if view["unread"] else "",
            f"{view['unsent']} unsent" if view["unsent"] else "",
            view["id"][:SHORT_ID],
        ]
        for view in groups
    )
