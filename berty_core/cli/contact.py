"""`berty contact`: links, requests, names and fingerprints of people."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from .completion import complete_contact
from .output import json_option, print_contacts, print_json, print_list
from .reach import ask
from .settings import Passphrase, Settings, passphrase_options
from .text import safe

MAX_INPUT = 65_536  # bytes; any link is far shorter
NOBODY = (
    "Nobody yet: `berty contact link` prints the link that others add you with, `berty contact add LINK` asks them."
)


@click.group()
def contact() -> None:
    """People: exchange links, accept requests, give names.

    \b
    Examples:
      berty contact link
      berty contact add LINK
      berty contact accept Bob
    """


def qr_option(command: Any) -> Any:
    """Give a command `--qr`."""
    return click.option("--qr", is_flag=True, help="Show a QR code in the terminal.")(command)


def internal_option(command: Any) -> Any:
    """Give a command `--internal`."""
    return click.option("--internal", is_flag=True, help="Print the form that QR codes carry.")(command)


def print_link(view: dict[str, Any], qr: bool, as_json: bool) -> None:
    """Print a link alone, so that it can be piped, or as a QR code."""
    if as_json:
        print_json(view)
    elif qr:
        import segno  # noqa: PLC0415  only for this

        segno.make(view["link"]).terminal(out=sys.stdout, compact=True)
    else:
        click.echo(view["link"])


def link_argument(link: str) -> str:
    """The link itself, or what standard input holds for `-`."""
    return sys.stdin.buffer.read(MAX_INPUT).decode(errors="replace").strip() if link == "-" else link


@contact.command()
@internal_option
@qr_option
@passphrase_options("a passphrase that protects the link")
@json_option
@click.pass_obj
def link(settings: Settings, internal: bool, qr: bool, passphrase: Passphrase, as_json: bool) -> None:
    """Print the link that others add you with.

    Whoever has it may ask to be your contact: requests are switched on.

    \b
    Examples:
      berty contact link
      berty contact link --qr
      berty contact link --passphrase
    """
    words = passphrase.read("Passphrase of the link", confirm=True) if passphrase.is_given else ""
    print_link(ask(settings, "contact_link", internal=internal or qr, passphrase=words), qr, as_json)


@contact.command()
@click.argument("link")
@click.option("--name", default="", help="Your own name for this person; by default the one in the link.")
@passphrase_options("the passphrase of a protected link")
@json_option
@click.pass_obj
def add(settings: Settings, link: str, name: str, passphrase: Passphrase, as_json: bool) -> None:
    """Ask the owner of LINK to be a contact.

    `-` reads the link from standard input. The request goes out when the two devices meet.

    \b
    Examples:
      berty contact add 'https://berty.tech/id#contact/…'
      berty contact add - < link.txt
    """
    words = passphrase.read("Passphrase of the link") if passphrase.is_given else ""
    view = ask(settings, "contact_add", link=link_argument(link), passphrase=words, alias=name)
    if as_json:
        print_json(view)
    elif view["state"] == "added":
        click.echo(f"{safe(view['name'])} is a contact now.")
    else:
        click.echo(f"{safe(view['name'])} will be asked as soon as you meet: `berty run` while they are near.")


@contact.command(name="list")
@json_option
@click.pass_obj
def list_contacts(settings: Settings, as_json: bool) -> None:
    """List contacts and requests.

    \b
    Example:
      berty contact list
    """
    print_list(ask(settings, "contact_list"), as_json, print_contacts, NOBODY)


def _changing(name: str, method: str, short: str, done: str) -> click.Command:
    """A command that does one thing to one contact."""

    @contact.command(name=name, help=f"{short}\n\n\b\nExample:\n  berty contact {name} Bob")
    @click.argument("name", shell_complete=complete_contact)
    @json_option
    @click.pass_obj
    def command(settings: Settings, name: str, as_json: bool) -> None:
        view = ask(settings, method, name=name)
        print_json(view) if as_json else click.echo(done.format(safe(view["name"])))

    return command


_changing("accept", "contact_accept", "Accept somebody who asks.", "{} is a contact now.")
_changing("discard", "contact_discard", "Discard a request; who asked is not told.", "The request of {} is discarded.")
_changing("block", "contact_block", "Exchange nothing with a contact any longer.", "{} is blocked.")
_changing(
    "unblock",
    "contact_unblock",
    "Let somebody who is blocked ask again.",
    "{} is no longer blocked; to talk again, one of you adds the other's link.",
)


@contact.command()
@click.argument("name", shell_complete=complete_contact)
@click.argument("new_name")
@json_option
@click.pass_obj
def rename(settings: Settings, name: str, new_name: str, as_json: bool) -> None:
    """Choose another name for a contact; only you see it.

    \b
    Example:
      berty contact rename Bob "Bob from work"
    """
    view = ask(settings, "contact_rename", name=name, alias=new_name)
    print_json(view) if as_json else click.echo(f"You will see them as {safe(view['name'])}.")


@contact.command()
@click.argument("name", shell_complete=complete_contact)
@json_option
@click.pass_obj
def verify(settings: Settings, name: str, as_json: bool) -> None:
    """Show a fingerprint to read aloud to each other.

    It is the same on both sides, if nobody is between you.

    \b
    Example:
      berty contact verify Bob
    """
    view = ask(settings, "contact_verify", name=name)
    if as_json:
        print_json(view)
        return
    click.echo(view["fingerprint"])
    click.echo(f"If {safe(view['name'])} sees the same digits, nobody is between you.", err=True)


def _own_link(name: str, method: str, short: str, done: Callable[[dict[str, Any]], str]) -> click.Command:
    """A command about the own link."""

    @contact.command(name=name, help=f"{short}\n\n\b\nExample:\n  berty contact {name}")
    @json_option
    @click.pass_obj
    def command(settings: Settings, as_json: bool) -> None:
        view = ask(settings, method)
        print_json(view) if as_json else click.echo(done(view))

    return command


_own_link(
    "reset-link", "reset_link", "Make all earlier links useless, and print the new one.", lambda view: view["link"]
)
_own_link("on", "requests_on", "Let holders of your link ask again; the link stays.", lambda _: "Requests are on.")
_own_link("off", "requests_off", "Let nobody ask; the link is kept for later.", lambda _: "Requests are off.")
