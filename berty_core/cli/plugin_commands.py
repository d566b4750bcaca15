"""Commands of plugins: found by an index of entry points, so that `berty --help` imports nothing but those.

Invariant: a plugin that is broken is named in the list with its reason, and every other command works.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Iterable
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..calling import IMPORT_TIME, PluginFault, supervised
from ..contracts.command import CommandSpec
from ..errors import UserError

if TYPE_CHECKING:
    import click

INDEX = "berty.commands"
_CONFIG_FILE = "berty.toml"


def plugin_commands(
    home: Path | None, taken: Collection[str], found: Iterable[EntryPoint] | None = None
) -> dict[str, CommandSpec]:
    """Each command by its name; one of a broken plugin has the plugin's name and says why when it is used."""
    commands: dict[str, CommandSpec] = {}
    disabled = _disabled(home)
    points = found if found is not None else entry_points(group=INDEX)
    for point in sorted(points, key=lambda point: point.name):
        if point.name not in disabled:
            for spec in _commands_of(point, {*taken, *commands}):
                commands[spec.name] = spec
    return commands


def commands_of(plugin: str) -> list[str]:
    """The names of the commands that one plugin brings."""
    return sorted(plugin_commands(None, (), (point for point in entry_points(group=INDEX) if point.name == plugin)))


def _disabled(home: Path | None) -> Collection[str]:
    """Plugins that the home does not want; what is wrong with the file is said when the home is opened."""
    try:
        node = tomllib.loads((home / _CONFIG_FILE).read_text())["node"] if home else {}
        return [name for name in node["disabled"] if isinstance(name, str)]
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _commands_of(point: EntryPoint, taken: Collection[str]) -> list[CommandSpec]:
    try:
        specs = supervised(IMPORT_TIME, "importing it", partial(_call_hook, point))
    except PluginFault as fault:
        return [_broken(point.name, taken, str(fault))]
    names = [spec.name for spec in specs]
    clash = next((name for name in names if name in taken or names.count(name) > 1), None)
    if clash is not None:
        return [_broken(point.name, taken, f"it brings a command {clash!r}, and there is one already")]
    return [spec._replace(load=partial(_load, point.name, spec.load)) for spec in specs]


def _call_hook(point: EntryPoint) -> list[CommandSpec]:
    import pluggy  # noqa: PLC0415  only where a plugin brings commands

    from ..contracts import hookspecs  # noqa: PLC0415

    hooks = pluggy.PluginManager(hookspecs.PROJECT)
    hooks.add_hookspecs(hookspecs)
    hooks.register(point.load(), point.name)
    return [_checked(spec) for specs in hooks.hook.berty_commands() for spec in specs]


def _checked(spec: CommandSpec) -> CommandSpec:
    name, words, load = spec
    if not (isinstance(name, str) and name.isprintable() and name and isinstance(words, str) and callable(load)):
        raise TypeError(f"a CommandSpec has a name, a line of help and a function, not {spec!r}")
    return CommandSpec(name, words, load)


def _broken(plugin: str, taken: Collection[str], reason: str) -> CommandSpec:
    name = plugin if plugin not in taken else f"{plugin}-plugin"
    return CommandSpec(name, f"Cannot be used: {reason}", partial(_refuse, plugin, reason))


def _refuse(plugin: str, reason: str) -> NoReturn:
    raise UserError(f"the plugin {plugin} cannot be used: {reason}; install a version that fits, or remove it")


def _load(plugin: str, load: Callable[[], click.Command]) -> click.Command:
    """Load a command once it is used, if its plugin fits this core."""
    from ..plugins import load_plugins  # noqa: PLC0415  slow; listing does not need it

    for broken in load_plugins().broken:
        if broken.name == plugin:
            _refuse(plugin, broken.reason)
    try:
        return supervised(None, "loading its command", load)
    except PluginFault as fault:
        _refuse(plugin, str(fault))
