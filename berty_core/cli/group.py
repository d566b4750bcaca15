"""`berty group`: make groups, invite, join and leave."""

from __future__ import annotations

from typing import Any

import click

from .completion import complete_contact, complete_group, complete_invitation
from .contact import internal_option, link_argument, print_link, qr_option
from .output import counted, hint, json_option, print_groups, print_json, print_list, table
from .reach import ask
from .settings import Passphrase, Settings, passphrase_options
from .text import safe


@click.group()
def group() -> None:
    """Groups: make one, invite people, join and leave.

    \b
    Examples:
      berty group new Hikers
      berty group invite Hikers Bob
      berty group join Hikers
    """


@group.command()
@click.argument("name")
@json_option
@click.pass_obj
def new(settings: Settings, name: str, as_json: bool) -> None:
    """Make a group.

    \b
    Example:
      berty group new Hikers
    """
    view = ask(settings, "group_new", name=name)
    if as_json:
        print_json(view)
        return
    click.echo(f"The group {safe(view['name'])} is there; you are in it.")


@group.command()
@click.argument("group", shell_complete=complete_group)
@click.argument("contact", default="", shell_complete=complete_contact)
@internal_option
@qr_option
@passphrase_options("a passphrase that protects the link")
@json_option
@click.pass_obj
def invite(
    settings: Settings, group: str, contact: str, internal: bool, qr: bool, passphrase: Passphrase, as_json: bool
) -> None:
    """Invite CONTACT to a group, or print its link.

    Without CONTACT the link is printed. Whoever has it can join and read everything: keep it close.

    \b
    Examples:
      berty group invite Hikers Bob
      berty group invite Hikers --qr
    """
    if contact and (internal or qr or passphrase.is_given):
        raise click.UsageError("an invitation to a contact is no printed link: leave out CONTACT or the options")
    words = passphrase.read("Passphrase of the link", confirm=True) if passphrase.is_given else ""
    view = ask(settings, "group_invite", group=group, contact=contact, internal=internal or qr, passphrase=words)
    if contact and not as_json:
        click.echo(f"The invitation to {safe(group)} goes to {safe(view['to'])}.")
        return
    print_link(view, qr, as_json)


@group.command()
@json_option
@click.pass_obj
def invitations(settings: Settings, as_json: bool) -> None:
    """List groups that contacts have invited you to.

    \b
    Example:
      berty group invitations
    """
    print_list(ask(settings, "group_invitations"), as_json, _print_invitations, "No invitation waits.")


def _print_invitations(views: list[dict[str, Any]]) -> None:
    table([safe(view["name"]), f"from {safe(view['from'])}", view["id"]] for view in views)
    hint("`berty group join NAME` joins one; where two have one name, by the beginning of its id.")


@group.command()
@click.argument("link_or_invitation", shell_complete=complete_invitation)
@click.option("--name", default="", help="Your own name for the group; by default the one in the link.")
@passphrase_options("the passphrase of a protected link")
@json_option
@click.pass_obj
def join(settings: Settings, link_or_invitation: str, name: str, passphrase: Passphrase, as_json: bool) -> None:
    """Join a group by a link or an invitation.

    An invitation is named by its group's name or by its id; `-` reads a link from standard input.

    \b
    Examples:
      berty group join Hikers
      berty group join 'https://berty.tech/id#group/…'
    """
    words = passphrase.read("Passphrase of the link") if passphrase.is_given else ""
    view = ask(settings, "group_join", link=link_argument(link_or_invitation), passphrase=words, alias=name)
    print_json(view) if as_json else click.echo(f"You are in {safe(view['name'])}; its messages come as you meet.")


@group.command(name="list")
@json_option
@click.pass_obj
def list_groups(settings: Settings, as_json: bool) -> None:
    """List groups, conversations with contacts among them.

    \b
    Example:
      berty group list
    """
    print_list(ask(settings, "group_list"), as_json, print_groups, "No groups yet: `berty group new NAME` makes one.")


@group.command()
@click.argument("group", shell_complete=complete_group)
@json_option
@click.pass_obj
def show(settings: Settings, group: str, as_json: bool) -> None:
    """Show a group and its members.

    \b
    Example:
      berty group show Hikers
    """
    view = ask(settings, "group_show", name=group)
    if as_json:
        print_json(view)
        return
    print_groups([view])
    click.echo(f"id {view['id']}; {counted(view['entries'], 'entry', 'entries')}, {counted(view['heads'], 'head')}")
    table(
        [
            f"  {safe(member['name'])}{' (you)' if member['me'] else ''}",
            counted(len(member["devices"]), "device"),
            member["id"][:12],
        ]
        for member in view["member_list"]
    )


@group.command()
@click.argument("group", shell_complete=complete_group)
@json_option
@click.pass_obj
def leave(settings: Settings, group: str, as_json: bool) -> None:
    """Leave a group.

    Others are not told, and what you have of it stays on the disk, sealed.

    \b
    Example:
      berty group leave Hikers
    """
    view = ask(settings, "group_leave", name=group)
    print_json(view) if as_json else click.echo(f"You have left {safe(view['name'])}.")


@group.command()
@click.argument("group", shell_complete=complete_group)
@click.argument("new_name")
@json_option
@click.pass_obj
def rename(settings: Settings, group: str, new_name: str, as_json: bool) -> None:
    """Give a group another name, for everybody in it.

    \b
    Example:
      berty group rename Hikers "Hikers 2027"
    """
    view = ask(settings, "group_rename", name=group, new_name=new_name)
    print_json(view) if as_json else click.echo(f"The group is called {safe(view['name'])} now.")
