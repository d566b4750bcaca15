"""`berty run`, `sync`, `status` and `stop`: the node itself."""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import click

from ..errors import StoreLocked
from ..runtime.control_socket import Connection, NotInTime
from .output import clock, counted, hint, json_option, print_contacts, print_json, table
from .reach import PATIENCE, POLL, ask, check_free, reach
from .settings import Settings
from .text import safe

if TYPE_CHECKING:
    from pathlib import Path

    from anyio import CancelScope
    from anyio.abc import TaskStatus

    from ..config import NodeConfig


class _SafeFormatter(logging.Formatter):
    """Log lines on a terminal: remote text cannot act on it, and tracebacks are for those who ask."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{clock(record.created)} {record.name}: {safe(record.getMessage())}"
        if record.exc_info and os.environ.get("BERTY_DEBUG") == "1":
            return f"{line}\n{self.formatException(record.exc_info)}"
        return line


def set_up_log(verbose: bool) -> None:
    """Send log records to standard error."""
    sink = logging.StreamHandler()
    sink.setFormatter(_SafeFormatter())
    logging.getLogger("berty").addHandler(sink)
    logging.getLogger("berty").setLevel(logging.INFO if verbose else logging.WARNING)


@click.command()
@click.option("-v", "--verbose", is_flag=True, help="Say each decision: whom it meets, what it dials, and why.")
@click.pass_obj
def run(settings: Settings, verbose: bool) -> None:
    """Take part: meet others and exchange.

    It ends with Ctrl-C, SIGTERM or `berty stop`. Other commands work meanwhile, in other terminals.

    \b
    Examples:
      berty run
      berty --home ~/second -s plugins.mdns.loopback=true run -v
    """
    import anyio  # noqa: PLC0415  slow

    from ..runtime.home import SALT_FILE  # noqa: PLC0415  slow

    set_up_log(verbose)
    _refuse_second(settings)
    config = settings.config()
    words = settings.passphrase.read("Passphrase of this home") if (settings.home / SALT_FILE).exists() else ""
    anyio.run(_run, settings.home, config, words)


def _refuse_second(settings: Settings) -> None:
    running = Connection.open(settings.home)
    if running is None:
        return
    with running:
        if running.has_network and not running.is_brief:
            raise StoreLocked(
                f"a node runs in {settings.home} already (process {running.greeting['pid']}): `berty stop`"
            )


async def _run(home: Path, config: NodeConfig, passphrase: str) -> None:
    import anyio  # noqa: PLC0415  slow

    from ..runtime.node import Node  # noqa: PLC0415  slow

    async with anyio.create_task_group() as tasks:
        await tasks.start(_until_signal, tasks.cancel_scope)
        async with Node.open(home, config=config, passphrase=lambda: passphrase, wait=PATIENCE) as node:
            name = await node.store.read(node.replica.own_name)
            click.echo(f"{safe(name)} takes part, with the home {safe(str(node.home))}. Ctrl-C ends it.")
            for notice in node.notices:
                hint(f"Notice: {notice}")
            await anyio.sleep_forever()
        tasks.cancel_scope.cancel()


async def _until_signal(scope: CancelScope, *, task_status: TaskStatus[None]) -> None:
    """Leave the scope at the first signal; a second one is not held back from ending the process."""
    import anyio  # noqa: PLC0415  slow

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            break
    scope.cancel()


@click.command()
@click.option("--until-idle/--whole-time", default=True, show_default=True, help="End when nothing changes any longer.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="End at the latest then.",
)
@json_option
@click.pass_obj
def sync(settings: Settings, until_idle: bool, timeout: float, as_json: bool) -> None:
    """Meet who is near, exchange, and end: for scripts and timers.

    \b
    Examples:
      berty sync --until-idle --timeout 60
      berty sync --json
    """
    from .progress import progress  # noqa: PLC0415  slow

    with reach(settings, network=True) as node, progress("Exchanging"):
        view = node.call("sync", timeout=timeout, until_idle=until_idle)
    if as_json:
        print_json(view)
    else:
        met = f"Met {counted(view['met'], 'device')}" if view["met"] else "Met nobody"
        click.echo(
            f"{met}; {counted(view['arrived'], 'new message')}; {view['unsent']} of yours not held by others yet."
        )
        _print_transport_faults(view["transports"])
    if until_idle and not view["idle"]:
        raise NotInTime(f"the exchange was not done after {timeout:g} s; what came is kept: try again")


def _print_transport_faults(transports: list[dict[str, Any]]) -> None:
    for transport in transports:
        if transport["state"] != "active":
            hint(f"{safe(transport['name'])}: {transport['state']}{_reasons(transport)}")
    if not transports:
        hint("There is no transport: install one, such as berty-mdns, or see `disabled` in berty.toml")


def _reasons(transport: dict[str, Any]) -> str:
    return f" ({safe('; '.join(transport['reasons']))})" if transport["reasons"] else ""


def _remedy(left: dict[str, Any]) -> str:
    return f"; {safe(left['remedy'])}" if left["remedy"] else ""


@click.command()
@json_option
@click.pass_obj
def status(settings: Settings, as_json: bool) -> None:
    """Show what runs, who is near, and what each group holds.

    \b
    Examples:
      berty status
      berty status --json | jq .peers
    """
    view = ask(settings, "status")
    if as_json:
        print_json(view)
        return
    _print_node(view)
    if view["network"]:
        click.echo("Near:" if view["peers"] else "Nobody is near.")
        print_peers(view["peers"])
    if view["contact_requests"]:
        click.echo("Who asks to be a contact:")
        print_contacts(view["contact_requests"])
    if view["groups"]:
        click.echo("Conversations:")
        _print_logs(view["groups"])
    for group in view["groups"]:
        _print_gaps(group)


def _print_node(view: dict[str, Any]) -> None:
    account = view["account"]
    runs = f"runs (process {view['pid']})" if view["network"] else "does not run: `berty run` starts it"
    rows = [
        ["account", f"{safe(account['name'])}, {counted(len(account['devices']), 'device')}, id {account['id'][:12]}"],
        ["home", safe(view["home"])],
        ["key", view["key"]["words"]],
        ["profile", f"{view['profile']} (devices with another profile are not met)"],
        ["own link", "on: who has it may ask" if view["requests"] else "off: `berty contact link` switches it on"],
        ["node", runs],
    ]
    rows += [["transport", f"{t['name']}: {t['state']}{_reasons(t)}"] for t in view["transports"]]
    rows += [["bus", line] for t in view["transports"] if t["bus"] for line in bus_lines(t["name"], t["bus"])]
    if view["network"] and not view["transports"]:
        rows.append(["transport", "none: install one, such as berty-mdns, or see `disabled` in berty.toml"])
    for running in view["session_profiles"]:
        rows.append(["also speaks", f"{running['name']}: {running['state']}{_reasons(running)}"])
        rows += [["address", safe(address)] for address in running["addresses"]]
    rows += [["not used", f"{safe(p['name'])}: {safe(p['reason'])}{_remedy(p)}"] for p in view["plugins_not_used"]]
    if view["network"]:  # a short command has said its own already
        rows += [["notice", safe(notice)] for notice in view["notices"]]
    table(rows)


def bus_lines(name: str, bus: dict[str, Any]) -> list[str]:
    """What is told of a bus: what was said and heard, and who was heard of each group."""
    said = f"{counted(bus['said'], 'datagram')} said ({bus['bytes_said']} bytes)"
    heard = f"{bus['heard']} heard ({bus['bytes_heard']} bytes)"
    not_taken = [f"{bus[what]} {what}" for what in ("repeated", "refused", "foreign", "dropped", "spared") if bus[what]]
    lines = [f"{safe(name)}: {', '.join([said, heard, *not_taken])}"]
    if bus["silent"]:
        lines.append(f"{safe(name)}: nothing is said now: {safe(bus['silent'])}")
    for group in bus["groups"]:
        devices = ", ".join(f"{safe(one['name'])} at {clock(one['at'])}" for one in group["devices"])
        who = f"; confirmed by {devices}" if devices else ""
        members = counted(group["members"], "member")
        lines.append(f"{safe(name)}: {safe(group['name'])}, {members} heard in the last hour{who}")
    return lines


def print_peers(peers: list[dict[str, Any]]) -> None:
    """Who is connected, over what, in which session profile, and what is shared."""
    table(
        [
            f"  {safe(peer['name']) or 'somebody'}",
            f"{'dialled' if peer['dialled_by_us'] else 'dialled us'} over {safe(peer['transport'])}",
            f"{safe(peer['session'])} session",
            safe(peer["address"]),
            f"since {clock(peer['since'])}",
            ", ".join(safe(group["name"]) for group in peer["groups"]),
            safe(peer.get("why", "")),
        ]
        for peer in peers
    )


def _print_logs(groups: list[dict[str, Any]]) -> None:
    """How far each conversation is."""
    table(
        [
            f"  {safe(group['name'])}",
            group["kind"],
            counted(group["members"], "member"),
            counted(group["entries"], "entry", "entries"),
            counted(group["heads"], "head"),
            f"{group['unread']} unread",
            f"{group['unsent']} unsent",
        ]
        for group in groups
    )


def _print_gaps(group: dict[str, Any]) -> None:
    """What cannot be read yet, and what never came: by device and counter."""
    for what, words in (("waiting", "cannot be read yet"), ("missing", "did not come")):
        for device, counters in group[what].items():
            numbers = ", ".join(map(str, counters))
            click.echo(f"  {safe(group['name'])}: messages {numbers} of device {device[:12]} {words}")


@click.command()
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=PATIENCE,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for its end.",
)
@click.pass_obj
def stop(settings: Settings, timeout: float) -> None:
    """End the node that runs in this home.

    \b
    Example:
      berty stop
    """
    running = Connection.open(settings.home)
    if running is None:
        click.echo("No node runs here.")
        return
    with running:
        running.call("stop")
    deadline = time.monotonic() + timeout
    while not _has_ended(settings):
        if time.monotonic() >= deadline:
            raise NotInTime(f"the node still runs after {timeout:g} s (process {running.greeting['pid']})")
        time.sleep(POLL)  # nobody is left to tell us
    click.echo("The node has ended.")


def _has_ended(settings: Settings) -> bool:
    """Whether the home is closed: its files may be copied now."""
    try:
        check_free(settings)
    except StoreLocked:
        return False
    return True
