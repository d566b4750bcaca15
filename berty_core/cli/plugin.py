"""`berty plugin`: what is installed, what each brings, what of it is used and why the rest is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..errors import UserError
from .completion import complete_plugin
from .config import say_restart
from .new_plugin import new
from .output import hint, json_option, print_json, print_list, table
from .settings import Settings
from .text import safe

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from ..loading import LeftOut
    from .survey import Setting, Survey

STATES = {
    "used": "used",
    "disabled": "disabled",
    "broken": "broken",
    "refused": "its settings do not fit",
    "unusable": "cannot run here",
    "missing": "not installed",
}
Json = dict[str, Any]


@click.group()
def plugin() -> None:
    """Plugins: list them, look at one, switch it off or on.

    \b
    Examples:
      berty plugin list
      berty plugin disable libp2p
      berty plugin new my-radio
    """


plugin.add_command(new)


@plugin.command(name="list")
@json_option
@click.pass_obj
def list_plugins(settings: Settings, as_json: bool) -> None:
    """List the installed plugins, what they bring, and why one is not used.

    \b
    Examples:
      berty plugin list
      berty plugin list --json
    """
    from .survey import survey  # noqa: PLC0415  slow

    print_list(_views(survey(settings)), as_json, _print_views, "No plugin is installed: `pip install berty-sqlite`")


def _print_views(views: list[Json]) -> None:
    table([safe(view["name"]), safe(view["version"]), _brings_words(view), _state(view)] for view in views)
    for view in views:
        if view["reason"]:
            hint(f"{safe(view['name'])}: {safe(view['reason'])}")
            hint(f"  {safe(view['remedy'])}" if view["remedy"] else "")


def _state(view: Json) -> str:
    return STATES[str(view["state"])]


def _brings_words(view: Json) -> str:
    return safe(", ".join(f"{kind} {name}" for kind, names in view["brings"].items() for name in names))


def _views(found: Survey) -> list[Json]:
    """Each installed plugin, and each that has a table without being installed."""
    from ..plugins import installed  # noqa: PLC0415  slow

    absent = [left for left in found.fitted.left_out if left.state == "missing"]
    return [_view(found, point) for point in installed()] + [_absent_view(left) for left in absent]


def _view(found: Survey, point: EntryPoint) -> Json:
    from ..loading import distribution, distribution_version  # noqa: PLC0415  slow

    left = _left_out(found, point)
    is_disabled = point.name in found.config.disabled
    is_loaded = left is None or left.state != "broken"
    return {
        "name": point.name,
        "distribution": distribution(point),
        "version": distribution_version(point),
        "brings": _brings(found, point.name) if is_loaded else {},
        "hooks": _hooks(found, point.name) if is_loaded else [],
        "state": "disabled" if is_disabled else left.state if left else "used",
        "reason": left.reason if left else "",
        "remedy": f"`berty plugin enable {point.name}`" if is_disabled else left.remedy if left else "",
    }


def _left_out(found: Survey, point: EntryPoint) -> LeftOut | None:
    """Why this one is not used: of two with one name each has a reason of its own."""
    from ..loading import distribution  # noqa: PLC0415  slow

    named = [left for left in found.fitted.left_out if left.name == point.name]
    own = [left for left in named if left.distribution == distribution(point)]
    return next(iter(own or [left for left in named if not left.distribution]), None)


def _absent_view(left: LeftOut) -> Json:
    view = {"name": left.name, "distribution": "", "version": "", "brings": {}, "hooks": []}
    return {**view, "state": left.state, "reason": left.reason, "remedy": left.remedy}


def _brings(found: Survey, name: str) -> dict[str, list[str]]:
    from .plugin_commands import commands_of  # noqa: PLC0415  slow

    kinds = found.fitted.brought.by_plugin.get(name, {})
    brought: dict[str, list[str]] = {kind: [spec.name for spec in specs] for kind, specs in kinds.items()}
    commands = commands_of(name)
    return {**brought, "command": commands} if commands else brought


def _hooks(found: Survey, name: str) -> list[str]:
    loaded = found.plugins.hooks.get_plugin(name)
    callers = found.plugins.hooks.get_hookcallers(loaded) if loaded is not None else None
    return sorted(caller.name for caller in callers or ())


@plugin.command()
@click.argument("name", shell_complete=complete_plugin)
@json_option
@click.pass_obj
def show(settings: Settings, name: str, as_json: bool) -> None:
    """Show what the plugin NAME brings, its settings, and on what it was tested.

    \b
    Examples:
      berty plugin show mdns
      berty plugin show mdns --json
    """
    from .config import setting_view  # noqa: PLC0415  slow
    from .survey import survey  # noqa: PLC0415  slow

    found = survey(settings)
    view = _named(found, name)
    shown = list(found.plugin_settings(name))
    if as_json:
        described = [{**setting_view(setting), "type": setting.type, "doc": setting.doc} for setting in shown]
        print_json({**view, "settings": described, "tested_on": _tested_on(found, name)})
        return
    _print_plugin(view, _tested_on(found, name))
    _print_settings(shown)


def _named(found: Survey, name: str) -> Json:
    views = _views(found)
    for view in views:
        if view["name"] == name:
            return view
    raise UserError(f"there is no plugin {name!r}{_near(name, [view['name'] for view in views])}")


def _near(name: str, known: list[str]) -> str:
    from ..settings.faults import did_you_mean  # noqa: PLC0415  slow

    return did_you_mean(name, known, otherwise="installed are")


def _tested_on(found: Survey, name: str) -> list[str]:
    kinds = found.fitted.brought.by_plugin.get(name, {})
    return [text for specs in kinds.values() for spec in specs for text in getattr(spec, "tested_on", ())]


def _print_plugin(view: Json, tested_on: list[str]) -> None:
    rows = [
        ["plugin", f"{safe(view['name'])}, of {safe(view['distribution'])} {safe(view['version'])}"],
        ["state", _state(view) + (f": {safe(view['reason'])}" if view["reason"] else "")],
    ]
    rows += [["do", safe(view["remedy"])]] if view["remedy"] else []
    rows += [["brings", _brings_words(view)], ["hooks", safe(", ".join(view["hooks"]))]]
    rows += [["tested on", safe(text)] for text in tested_on]
    table(row for row in rows if row[1])


def _print_settings(settings: list[Setting]) -> None:
    from .survey import as_toml  # noqa: PLC0415  slow

    if not settings:
        return
    click.echo(f"\n[{safe('.'.join(settings[0].path[:-1]))}]")
    for setting in settings:
        default, value = as_toml(setting.default), as_toml(setting.value)
        now = f", now {safe(value)} by {safe(str(setting.origin))}" if setting.origin.kind != "default" else ""
        click.echo(f"  {safe(setting.path[-1])}: {safe(setting.type)}; default {safe(default)}{now}")
        click.echo(f"      {safe(setting.doc)}" if setting.doc else "", nl=bool(setting.doc))


# -- switching off and on ------------------------------------------------------------------------


@plugin.command()
@click.argument("name", shell_complete=complete_plugin)
@click.pass_obj
def disable(settings: Settings, name: str) -> None:
    """Leave the plugin NAME out: it is not even imported.

    \b
    Example:
      berty plugin disable libp2p
    """
    from ..plugins import DEFAULT_STORE, installed  # noqa: PLC0415  slow

    _known(name, [point.name for point in installed()])
    if name == DEFAULT_STORE:
        raise UserError(f"the node keeps its messages by {name}, and cannot be without it")
    _set_disabled(settings, name, lambda names: names if name in names else [*names, name])


@plugin.command()
@click.argument("name", shell_complete=complete_plugin)
@click.pass_obj
def enable(settings: Settings, name: str) -> None:
    """Use the plugin NAME again.

    \b
    Example:
      berty plugin enable libp2p
    """
    from ..config import examine  # noqa: PLC0415  slow
    from ..plugins import installed  # noqa: PLC0415  slow

    disabled = examine(settings.home, settings.overrides).checked().disabled
    _known(name, sorted({*(point.name for point in installed()), *disabled}))
    _set_disabled(settings, name, lambda names: [known for known in names if known != name])


def _known(name: str, known: list[str]) -> None:
    if name not in known:
        raise UserError(f"there is no plugin {name!r}{_near(name, known)}")


def _set_disabled(settings: Settings, name: str, change: Callable[[list[str]], list[str]]) -> None:
    """Change `disabled` of `[node]` in the file, and say so; ConfigError where the file is broken."""
    from ..config import CONFIG_FILE, examine, examine_text  # noqa: PLC0415  slow
    from ..runtime.home import prepare  # noqa: PLC0415  slow
    from ..settings.edit import current, replace, with_value  # noqa: PLC0415  slow

    prepare(settings.home)
    file = settings.home / CONFIG_FILE
    before = current(file)
    names = list(examine_text(settings.home, before, (), {}).checked().disabled)
    if change(names) != names:
        replace(file, with_value(before, ("node", "disabled"), change(names)))
    effective = examine(settings.home, settings.overrides).checked()
    click.echo(f"{safe(name)} is {'disabled' if name in effective.disabled else 'enabled'}.")
    if (name in effective.disabled) != (name in change(names)):
        hint(f"{safe(str(effective.origins.get(('node', 'disabled'))))} wins over the file, as long as it is given.")
    if change(names) != names:
        say_restart(settings)
