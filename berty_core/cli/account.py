"""`berty init` and `berty account`: make an account, name it, take it elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UserError
from .output import hint, json_option, print_json
from .reach import ask
from .settings import Passphrase, Settings, passphrase_options
from .text import safe

if TYPE_CHECKING:
    from ..runtime.replica.archive import Archive

EXPORT_WARNING = "Whoever has this file is you and can read all of it: keep it offline, and delete copies."


def _key_options(command: Any) -> Any:
    keyring = click.option("--no-keyring", is_flag=True, help="Keep the key in a 0600 file in the home instead.")
    return passphrase_options("a passphrase that locks the home, instead of a key in the keyring or a file")(
        keyring(command)
    )


@click.command()
@click.option("--name", required=True, help="How others see you; it can be changed later.")
@_key_options
@json_option
@click.pass_obj
def init(settings: Settings, name: str, no_keyring: bool, passphrase: Passphrase, as_json: bool) -> None:
    """Make an account on this device.

    \b
    Examples:
      berty init --name Ann
      berty --home ~/second init --name Ann --passphrase
      berty init --name Bot --passphrase-file /run/secrets/berty
    """
    _create(settings, name, no_keyring, passphrase, None, as_json)


def _create(
    settings: Settings, name: str, no_keyring: bool, passphrase: Passphrase, archive: Archive | None, as_json: bool
) -> None:
    from ..runtime.node import create_home  # noqa: PLC0415  slow

    config = settings.config()
    _check_new(settings.home)
    source = passphrase if passphrase.is_given else settings.passphrase
    words = source.read("New passphrase of this home", confirm=True) if source.is_given else None
    with _progress("Importing", archive is not None) as progress:
        key = create_home(
            settings.home,
            name,
            config=config,
            passphrase=words,
            use_keyring=config.keyring and not no_keyring,
            archive=archive,
            progress=progress,
        )
    if as_json:
        opening = settings._replace(passphrase=Passphrase(known=words or ""))
        view = ask(opening, "account_show")
        print_json({**view, "home": str(settings.home), "key": {"kind": key.kind, "words": key.words}})
        return
    whose = f"of {safe(' '.join(name.split()))} " if name else ""
    click.echo(f"The account {whose}is in {safe(str(settings.home))}.")
    click.echo(f"Remember: {key.words}.")


def _check_new(home: Path) -> None:
    """Refuse an existing home before anybody is asked for a passphrase."""
    from ..runtime.home import exists  # noqa: PLC0415  slow

    if exists(home):
        raise UserError(f"there is an account in {home} already; choose another directory with --home")


@click.group()
def account() -> None:
    """Your account: its name, and taking it to another device.

    \b
    Examples:
      berty account show
      berty account export ann.tar
    """


@account.command()
@json_option
@click.pass_obj
def show(settings: Settings, as_json: bool) -> None:
    """Show the name, the id and the devices of your account.

    \b
    Example:
      berty account show --json
    """
    view = ask(settings, "account_show")
    if as_json:
        print_json(view)
        return
    click.echo(f"{safe(view['name'])}\nid      {view['id']}\nprofile {view['profile']}")
    for device in view["devices"]:
        click.echo(f"device  {device}{' (this one)' if device == view['device'] else ''}")


@account.command()
@click.argument("name")
@json_option
@click.pass_obj
def rename(settings: Settings, name: str, as_json: bool) -> None:
    """Change the name that others see.

    \b
    Example:
      berty account rename "Ann of the hill"
    """
    view = ask(settings, "account_rename", name=name)
    print_json(view) if as_json else click.echo(f"Others will see you as {safe(view['name'])}.")


@account.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
@click.pass_obj
def export(settings: Settings, file: Path, as_json: bool) -> None:
    """Write the whole account, keys and messages, to a new FILE that only you can read.

    \b
    Example:
      berty account export ann.tar
    """
    view = ask(settings, "export", path=str(file.expanduser().absolute()))
    print_json(view) if as_json else click.echo(f"{view['entries']} entries are in {file}.")
    hint(EXPORT_WARNING)


@account.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", default="", help="Another display name; by default the one it had.")
@_key_options
@json_option
@click.pass_obj
def import_account(
    settings: Settings, file: Path, name: str, no_keyring: bool, passphrase: Passphrase, as_json: bool
) -> None:
    """Make a home from an exported account, as a new device of it.

    \b
    Example:
      berty --home ~/restored account import ann.tar
    """
    from ..runtime.replica.archive import read_archive  # noqa: PLC0415  slow

    _check_new(settings.home)
    _create(settings, name, no_keyring, passphrase, read_archive(file.expanduser()), as_json)


def _progress(words: str, wanted: bool) -> Any:
    from .progress import progress  # noqa: PLC0415  rich is slow to import

    return progress(words, wanted=wanted)
