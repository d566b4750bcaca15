"""`berty peer`: devices that are met by their address, and who is connected."""

from __future__ import annotations

import click

from ..errors import UserError
from ..runtime.control_socket import Connection
from .node import print_peers
from .output import json_option, print_json
from .reach import ask
from .settings import Settings
from .text import safe


@click.group()
def peer() -> None:
    """Devices: meet one by its address, see who is connected.

    \b
    Examples:
      berty peer connect /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW...
      berty peer list
    """


@peer.command()
@click.argument("address", metavar="MULTIADDR")
@json_option
@click.pass_obj
def connect(settings: Settings, address: str, as_json: bool) -> None:
    """Have the running node meet a device by its address.

    It is dialled again whenever the connection is lost, until the node ends; `peers` in `[plugins.libp2p]` keeps an
    address for longer. `berty status` on the other device shows its addresses. Berty apps and weshnet nodes need the
    plugin berty-libp2p.

    \b
    Example:
      berty peer connect /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW...
    """
    running = Connection.open(settings.home)
    if running is None:
        raise UserError("no node runs here that could meet anybody: `berty run` starts it")
    with running:
        view = running.call("peer_connect", address=address)
    if as_json:
        print_json(view)
    else:
        click.echo(f"Connected with {safe(view['id'])} over {safe(view['session'])}.")


@peer.command("list")
@json_option
@click.pass_obj
def list_(settings: Settings, as_json: bool) -> None:
    """Show who is connected, and which session profile is spoken with whom.

    \b
    Examples:
      berty peer list
      berty peer list --json | jq .[].session
    """
    found = ask(settings, "peers")
    if as_json:
        print_json(found)
    elif found:
        print_peers(found)
    else:
        click.echo("Nobody is connected.")
