"""`berty config`: the settings of this device, where each is from, what is wrong with them, and changing them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError, UserError
from .completion import complete_setting
from .output import counted, hint, json_option, print_json
from .settings import Settings
from .text import safe

if TYPE_CHECKING:
    from ..settings.faults import Fault, KeyPath
    from .survey import Setting, Survey

DRAFT = "# The settings of this device. What stands behind a # is the default; `berty config check` looks at it.\n"


@click.group()
def config() -> None:
    """The settings of this device: show, check and change them.

    They come from the defaults, the home's berty.toml, BERTY_... variables, and -s; a later one wins.

    \b
    Examples:
      berty config show --origin
      berty config set plugins.mdns.loopback true
      berty config check
    """


@config.command()
@click.pass_obj
def path(settings: Settings) -> None:
    """Print where the file is, or would be.

    \b
    Example:
      berty config path
    """
    click.echo(safe(str(_file(settings))))


def _file(settings: Settings) -> Path:
    from ..config import CONFIG_FILE  # noqa: PLC0415  slow

    return settings.home / CONFIG_FILE


@config.command()
@click.option("--origin", is_flag=True, help="Say where each value is from: default, file and line, variable, or -s.")
@json_option
@click.pass_obj
def show(settings: Settings, origin: bool, as_json: bool) -> None:
    """Show every setting with the value that counts.

    \b
    Examples:
      berty config show --origin
      berty config show --json
    """
    from .survey import survey  # noqa: PLC0415  slow

    found = survey(settings)
    shown = list(found.settings())
    if as_json:
        print_json([setting_view(setting) for setting in shown])
    else:
        for line in _toml_lines(shown, with_origin=origin):
            click.echo(line)
    if found.stopping:
        raise ConfigError(_words(found.stopping))
    for fault in found.faults:
        hint(safe(str(fault)))


def setting_view(setting: Setting) -> dict[str, Any]:
    """A setting for programs."""
    from .survey import plain  # noqa: PLC0415  slow

    return {
        "key": ".".join(setting.path),
        "value": plain(setting.value),
        "default": plain(setting.default),
        "origin": {"kind": setting.origin.kind, "name": setting.origin.name, "line": setting.origin.line},
    }


def _toml_lines(settings: Iterable[Setting], *, with_origin: bool) -> Iterable[str]:
    from .survey import as_toml  # noqa: PLC0415  slow

    table: KeyPath = ()
    for setting in settings:
        if setting.path[:-1] != table:
            yield from ([""] if table else [])
            table = setting.path[:-1]
            yield f"[{safe('.'.join(table))}]"
        line = f"{safe(setting.path[-1])} = {safe(as_toml(setting.value))}"
        yield f"{line:<40}  # {safe(str(setting.origin))}" if with_origin else line


@config.command()
@json_option
@click.pass_obj
def check(settings: Settings, as_json: bool) -> None:
    """Say all that is wrong, each with file and line; exit code 78 if anything is.

    \b
    Examples:
      berty config check
      berty config check --json
    """
    from .survey import survey  # noqa: PLC0415  slow

    found = survey(settings)
    if as_json:
        print_json({"file": str(_file(settings)), "faults": [_fault_view(fault) for fault in found.faults]})
    else:
        for fault in found.faults:
            click.echo(safe(str(fault)))
        hint(_verdict(settings, found))
    if found.faults:
        raise click.exceptions.Exit(_exit_code())


def _exit_code() -> int:
    from ..config import EXIT_CONFIG  # noqa: PLC0415  slow

    return EXIT_CONFIG


def _fault_view(fault: Fault) -> dict[str, Any]:
    from ..config import stops  # noqa: PLC0415  slow

    return {
        "origin": fault.origin.kind,
        "name": fault.origin.name,
        "line": fault.origin.line,
        "table": fault.table,
        "key": fault.key,
        "reason": fault.reason,
        "stops": stops(fault),
    }


def _verdict(settings: Settings, found: Survey) -> str:
    if not found.faults:
        file = _file(settings)
        return f"{safe(str(file))}: nothing is wrong" if file.exists() else "There is no file; the defaults are right"
    if found.stopping:
        return f"{counted(len(found.faults), 'fault')}: no node starts with this; `berty config edit`"
    return f"{counted(len(found.faults), 'fault')}: a node starts without these plugins; `berty config edit`"


def _words(faults: Iterable[Fault]) -> str:
    return "\n".join(str(fault) for fault in faults)


# -- changing ------------------------------------------------------------------------------------


@config.command(name="set", context_settings={"ignore_unknown_options": True})  # -1 is a value
@click.argument("key", shell_complete=complete_setting)
@click.argument("value")
@click.pass_obj
def set_value(settings: Settings, key: str, value: str) -> None:
    """Set KEY in the file to VALUE, if it fits; comments stay.

    VALUE is written as in the file; quotes may be left out, and a list may be written with commas.

    \b
    Examples:
      berty config set node.profile wesh
      berty config set plugins.mdns.interfaces wlan0,eth0
    """
    from ..settings.layers import key_path  # noqa: PLC0415  slow

    parts = key_path(key)
    if len(parts) < (3 if parts[:1] == ("plugins",) else 2):
        raise UserError(f"{key}: write it as node.KEY or plugins.NAME.KEY; `berty config show` lists them")
    _check_reachable(settings)
    _change_to_fit(settings, parts, value)
    _say_done(settings, f"{key} is set in {_file(settings)}.", parts)


def _change_to_fit(settings: Settings, path: KeyPath, value: str) -> None:
    """Write a value as its setting needs it; ConfigError in the words of a check if it does not fit."""
    from ..settings.edit import current, replace, with_value  # noqa: PLC0415  slow
    from ..settings.layers import toml_value  # noqa: PLC0415  slow
    from .survey import plain, survey_text  # noqa: PLC0415  slow

    file = _file(settings)
    before = current(file)
    tried = survey_text(settings.home, before, [f"{'.'.join(path)}={value}"])
    if new := _not_in(survey_text(settings.home, before), tried.faults):
        words = [f"[{fault.table}] {fault.key}{': ' if fault.key else ''}{fault.reason}" for fault in new]
        raise ConfigError("\n".join(["nothing was changed:", *words]))
    fitting = (plain(setting.value) for setting in tried.settings() if setting.path == path)
    replace(file, with_value(before, path, next(fitting, toml_value(value))))


def _not_in(before: Survey, faults: Iterable[Fault]) -> list[Fault]:
    """Faults that were not there before; lines may have moved."""
    known = {(fault.path, fault.reason) for fault in before.faults}
    return [fault for fault in faults if (fault.path, fault.reason) not in known]


def _check_reachable(settings: Settings) -> None:
    from ..runtime.home import prepare  # noqa: PLC0415  slow

    prepare(settings.home)


@config.command()
@click.argument("key", shell_complete=complete_setting)
@click.pass_obj
def unset(settings: Settings, key: str) -> None:
    """Take KEY out of the file; its default counts again.

    KEY may be a whole table, such as plugins.mdns.

    \b
    Example:
      berty config unset plugins.mdns.loopback
    """
    from ..settings.edit import current, replace, without  # noqa: PLC0415  slow
    from ..settings.layers import key_path  # noqa: PLC0415  slow

    parts = key_path(key)
    if not parts:
        raise UserError(f"{key!r}: write it as node.KEY or plugins.NAME.KEY")
    file = _file(settings)
    replace(file, without(current(file), parts))
    _say_done(settings, f"{key} is out of {file}.", parts)


def _say_done(settings: Settings, words: str, path: KeyPath) -> None:
    from ..config import examine  # noqa: PLC0415  slow

    click.echo(safe(words))
    origin = examine(settings.home, settings.overrides).layers.origin(path)
    if origin.kind in ("environment", "option"):
        hint(f"{safe(str(origin))} wins over the file, as long as it is given.")
    say_restart(settings)


def say_restart(settings: Settings) -> None:
    """Tell whoever changed something that a node has read the file already."""
    from ..runtime.control_socket import Connection  # noqa: PLC0415  only for this

    running = Connection.open(settings.home)
    if running is not None:
        with running:
            hint("The node that runs keeps what it has read: `berty stop`, then `berty run`.")


# -- editing -------------------------------------------------------------------------------------


@config.command()
@click.pass_obj
def edit(settings: Settings) -> None:
    """Edit the file with $VISUAL or $EDITOR.

    You edit a copy. It is checked, and takes the file's place only if nothing in it is wrong.

    \b
    Example:
      berty config edit
    """
    from ..settings.edit import current, replace  # noqa: PLC0415  slow

    _check_reachable(settings)
    file = _file(settings)
    before = current(file)
    with tempfile.TemporaryDirectory(prefix="berty-", dir=settings.home) as directory:
        copy = Path(directory) / file.name
        copy.write_bytes(before or _draft(settings))
        after = _edited(settings, copy, before)
        if after == (before or _draft(settings)):
            click.echo("Nothing was changed.")
            return
        if current(file) != before:
            raise UserError(f"{file} was changed by somebody else meanwhile; nothing was written")
        replace(file, after)
    click.echo(f"{safe(str(file))} is written.")
    say_restart(settings)


def _draft(settings: Settings) -> bytes:
    """What a new file begins with: every setting with its default, switched off."""
    from .survey import as_toml, survey_text  # noqa: PLC0415  slow

    text = DRAFT
    table: KeyPath = ()
    for setting in survey_text(settings.home, b"").settings():
        if setting.path[:-1] != table:
            table = setting.path[:-1]
            text += f"\n[{'.'.join(table)}]\n"
        text += f"# {setting.doc}\n" if setting.doc else ""
        text += f"# {setting.path[-1]} = {as_toml(setting.default)}\n"
    return text.encode()


def _edited(settings: Settings, copy: Path, before: bytes) -> bytes:
    """Edit the copy until nothing more is wrong with it than was, and nothing that stops; or ConfigError."""
    from ..config import stops  # noqa: PLC0415  slow
    from .survey import survey_text  # noqa: PLC0415  slow

    while True:
        _run_editor(copy)
        data = copy.read_bytes()
        found = survey_text(settings.home, data).faults
        new = _not_in(survey_text(settings.home, before), found)
        faults = [fault for fault in found if fault in new or stops(fault)]
        if not faults:
            return data
        if not sys.stdin.isatty():
            raise ConfigError(f"nothing was changed: {_words(faults)}")
        for fault in faults:
            click.echo(safe(str(fault)), err=True)
        if not click.confirm("Edit again? Otherwise nothing is changed", default=True, err=True):
            raise ConfigError("nothing was changed")


def _run_editor(file: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ("notepad" if os.name == "nt" else "vi")
    try:
        done = subprocess.run([*shlex.split(editor), str(file)], check=False)  # noqa: S603  the user's own choice
    except (OSError, ValueError) as error:
        raise UserError(f"the editor {editor!r} cannot be started: {error}; set $EDITOR") from error
    if done.returncode:
        raise UserError(f"the editor {editor!r} ended with {done.returncode}; nothing was changed")
