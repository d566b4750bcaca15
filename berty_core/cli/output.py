"""What commands print: data as JSON with stable keys, or lines for people. Remote text passes `text.safe` here."""

from __future__ import annotations

import json
import shlex
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


def print_list(values: list[Any], as_json: bool, show: Callable[[list[Any]], None], none: str) -> None:
    """Print a list for programs or for people; an empty one says what to do."""
    if as_json:
        print_json(values)
    elif values:
        show(values)
    else:
        hint(none)


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
    return message_lines(prefix, _invitation(message) if message["kind"] == "invitation" else message["text"])


def _invitation(message: dict[str, Any]) -> str:
    """What an invitation says; its link is a secret, and is in the JSON only."""
    if not message["invited_to"]:
        return "(an invitation that cannot be used)"
    if message["mine"]:
        return f"(an invitation to the group {message['invited_to']})"
    return f"(invites you to the group {message['invited_to']}: `berty group join {message['id']}`)"


def print_contacts(contacts: list[dict[str, Any]]) -> None:
    """A line for each contact, and what to do with those who ask."""
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
    for view in contacts:
        if view["state"] == "received":
            name = typed_name(view)
            hint(f"`berty contact accept {name}` or `berty contact discard {name}`")


def counted(number: int, what: str, several: str = "") -> str:
    """A number of things, in words."""
    return f"{number} {what if number == 1 else several or what + 's'}"


def typed_name(view: dict[str, Any]) -> str:
    """How one would name a contact or group in a shell: by its id, where its name cannot be typed."""
    name: str = view["name"]
    return safe(shlex.quote(name)) if name.isprintable() and not name.startswith("-") else view["id"][:SHORT_ID]


def _calls_itself(view: dict[str, Any]) -> str:
    remote = view.get("remote_name", "")
    return f"calls itself {safe(remote)}" if remote and remote != view["name"] else ""


def print_groups(groups: list[dict[str, Any]]) -> None:
    """A line for each group."""
    table(
        [
            safe(view["name"]),
            view["kind"],
            counted(view["members"], "member"),
            f"{view['unread']} unread" if view["unread"] else "",
            f"{view['unsent']} unsent" if view["unsent"] else "",
            view["id"][:SHORT_ID],
            _calls_itself(view),
        ]
        for view in groups
    )
