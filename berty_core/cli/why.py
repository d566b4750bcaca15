"""`berty why`: what the node decided, and what comes next."""

from __future__ import annotations

from typing import Any

import click

from .completion import complete_conversation
from .output import clock, counted, hint, json_option, print_json, table
from .reach import ask
from .settings import Settings
from .text import safe


@click.command()
@click.argument("id", default="")
@click.option("--peer", default="", metavar="NAME", shell_complete=complete_conversation, help="A contact or group.")
@json_option
@click.pass_obj
def why(settings: Settings, id: str, peer: str, as_json: bool) -> None:
    """Say why a message, or a contact, goes the way it does.

    ID is what `berty send` printed. For each device: what is proven, over which transports it was tried, what comes
    next. With --peer: the sessions with that contact, all ways to it in order, and what is refused until when.

    \b
    Examples:
      berty why --peer Bob
      berty why bafyreia7...
      berty why --peer Bob --json | jq .ways
    """
    if bool(id) == bool(peer):
        raise click.UsageError("name a message by its ID, or a contact or group with --peer")
    view = ask(settings, "why_peer", name=peer) if peer else ask(settings, "why_message", id=id)
    if as_json:
        print_json(view)
    elif peer:
        _print_peer(view)
    else:
        _print_message(view)


def _print_peer(view: dict[str, Any]) -> None:
    for session in view["sessions"]:
        click.echo(f"Met over {safe(session['transport'])} since {clock(session['since'])}: {safe(session['why'])}.")
    if not view["sessions"]:
        click.echo(f"There is no session with {safe(view['name'])}.")
    if view["ways"]:
        click.echo("Ways, the best first:")
        table([f"  {safe(way['transport'])}", safe(way["address"]), _judged(way)] for way in view["ways"])
    for bus in view["buses"]:
        click.echo(f"On the bus {safe(bus['transport'])}: {_heard(bus)}.")
    for transport in view["transports"]:
        if transport["state"] != "active":
            click.echo(f"Transport {safe(transport['name'])}: {transport['state']}{_details(transport)}")
        for what, amount in transport["quota"].items():
            click.echo(f"Quota of {safe(transport['name'])}: {amount['used']:g} of {amount['limit']:g} ({what})")
    click.echo(f"Next: {safe(view['next'])}.")
    if view["decisions"]:
        click.echo("Decided before:")
    for decision in view["decisions"]:
        click.echo(f"  {clock(decision['at'])} {safe(decision['words'])}{_times(decision)}")


def _heard(bus: dict[str, Any]) -> str:
    devices = ", ".join(f"{safe(one['name'])} confirmed something at {clock(one['at'])}" for one in bus["devices"])
    words = f"{counted(bus['members'], 'member')} heard in the last hour" + (f", {devices}" if devices else "")
    return words + (f"; nothing is said now: {safe(bus['silent'])}" if bus["silent"] else "")


def _judged(way: dict[str, Any]) -> str:
    if way["refused"]:
        return f"refused: {safe('; '.join(way['refused']))}"
    return f"{'in use: ' if way['used'] else ''}{safe(', '.join(way['for']))}"


def _details(transport: dict[str, Any]) -> str:
    reasons = f" ({safe('; '.join(transport['reasons']))})" if transport["reasons"] else ""
    return reasons + (f", again at {clock(transport['retry_at'])}" if transport["retry_at"] else "")


def _times(decision: dict[str, Any]) -> str:
    return f" ({decision['times']} times)" if decision["times"] > 1 else ""


def _print_message(view: dict[str, Any]) -> None:
    where = safe(view["conversation"])
    if not view["mine"]:
        click.echo(f"A message of somebody else in {where}, here since {clock(view['received'])}.")
        return
    click.echo(f"A message of yours to {where}, {view['state']}.")
    table(
        [
            f"  {safe(device['name'])}",
            device["device"][:12],
            device["state"],
            _tried(device["tried"]),
            safe(device["next"]),
        ]
        for device in view["devices"]
    )
    for bus in view["buses"]:
        said = "not said" if bus["said"] is None else f"said at {clock(bus['said'])}"
        asked = f", asked about {bus['questions']} times" if bus["questions"] else ""
        click.echo(f"On the bus {safe(bus['transport'])}: {said}{asked}; {safe(bus['next'])}.")
    if not view["devices"]:
        hint("Nobody else's device is known in this conversation yet.")


def _tried(tried: list[dict[str, Any]]) -> str:
    if not tried:
        return "not sent since the node started"
    return "sent over " + ", ".join(f"{safe(one['transport'])} at {clock(one['at'])}" for one in tried)
