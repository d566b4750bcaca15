"""`berty doctor`: look at everything that keeps a device from taking part, and say what to type."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from .output import counted, json_option, print_json
from .settings import Settings, default_home
from .text import pad, safe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..contracts.checks import Check, CheckHost, Finding
    from .survey import Survey

Json = dict[str, Any]
CORE = "core"


@click.command()
@json_option
@click.pass_obj
def doctor(settings: Settings, as_json: bool) -> None:
    """Look for what keeps this device from taking part.

    Each line says what is so, why it matters, and a command to type. Nothing is changed.
    The exit code is 1 if there is a problem.

    \b
    Examples:
      berty doctor
      berty doctor --json
    """
    views = list(_examined(settings))
    problems, warnings = (sum(view["level"] == level for view in views) for level in ("problem", "warning"))
    if as_json:
        print_json({"findings": views, "problems": problems, "warnings": warnings})
    else:
        for view in views:
            _print(view)
        click.echo(f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}.")
    if problems:
        raise click.exceptions.Exit(1)


def _examined(settings: Settings) -> Iterable[Json]:
    """Run the checks of the core and of each plugin."""
    from ..contracts.checks import CheckHost  # noqa: PLC0415  slow
    from ..runtime.control_socket import Connection  # noqa: PLC0415  slow
    from .checks import CoreChecks  # noqa: PLC0415  slow
    from .survey import survey  # noqa: PLC0415  slow

    found = survey(settings)
    found.plugins.hooks.register(CoreChecks(settings, found), CORE)
    by_plugin = found.plugins.brought().by_plugin
    running = Connection.open(settings.home)
    if running is not None:
        running.close()
    for plugin in sorted(by_plugin, key=lambda name: (name != CORE, name)):
        host = CheckHost(home=settings.home, settings=_settings(found, plugin), node_runs=running is not None)
        for check in by_plugin[plugin].get("check", ()):
            for finding in _run(check, host):
                yield _view(plugin, check, finding, settings)


def _settings(found: Survey, plugin: str) -> Any:
    """The settings of a plugin by their class; the defaults where its table does not fit."""
    from ..fitting import plugin_settings  # noqa: PLC0415  slow

    made = plugin_settings(plugin, found.fitted.brought, found.config)[0] if plugin != CORE else {}
    return lambda kind: made.get(kind) or kind()


def _run(check: Check, host: CheckHost) -> list[Finding]:
    """What a check finds; one that fails is a problem by itself."""
    from ..calling import CALL_TIME, PluginFault, supervised  # noqa: PLC0415  slow
    from ..contracts.checks import Finding, Level  # noqa: PLC0415  slow

    try:
        findings = supervised(CALL_TIME, "the check", lambda: list(check.run(host)))
        if not all(isinstance(finding, Finding) for finding in findings):
            raise PluginFault("the check returned something else than findings")
    except PluginFault as fault:
        why = "what it looks at is not known"
        return [Finding(level=Level.PROBLEM, what=str(fault), why=why, command="berty plugin list")]
    return findings


def _typed(command: str, settings: Settings) -> str:
    """A command as one types it for this home."""
    if not command.startswith("berty ") or settings.home == default_home():
        return command
    return f"berty --home {shlex.quote(str(settings.home))} {command.removeprefix('berty ')}"


def _view(plugin: str, check: Check, finding: Finding, settings: Settings) -> Json:
    return {
        "check": check.name if plugin == CORE else f"{plugin} {check.name}",
        "plugin": plugin,
        "level": finding.level.value,
        "what": finding.what,
        "why": finding.why,
        "command": _typed(finding.command, settings),
    }


def _print(view: Json) -> None:
    click.echo(f"{pad(view['level'], 7)}  {pad(safe(view['check']), 14)}  {safe(view['what'])}")
    if view["why"]:
        click.echo(f"{'':25}{safe(view['why'])}")
    if view["command"]:
        click.echo(f"{'':25}$ {safe(view['command'])}")
