"""`berty conformance`: hold an installed plugin to the contract by the suite that its author declared."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import click

from ..errors import UserError
from .report import BROKEN, NOT_RUN, PASSED, Report, Result, write_json
from .rules import LEVELS, Suite

GROUP = "berty.conformance"
MARKS = {PASSED: "passed", BROKEN: "BROKEN", NOT_RUN: "not run"}


def _complete_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of suites that begin like this."""
    return [name for name in _names() if name.startswith(incomplete)]


@click.command()
@click.argument("name", required=False, shell_complete=_complete_name)
@click.option(
    "--peer", metavar="WHAT", help="The second device, where the suite asks for one (short for -o peer=WHAT)."
)
@click.option(
    "-o",
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Something that the suite asks for, e.g. the device to use.",
)
@click.option("--level", type=click.Choice(LEVELS), help="Where it runs now.  [default: what the suite says]")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write JSON to a file.")
@click.option("-q", "--quiet", is_flag=True, help="Print broken rules and the last line only.")
def conformance(
    name: str | None, peer: str | None, options: tuple[str, ...], level: str | None, report: Path | None, quiet: bool
) -> None:
    """Check an installed plugin against the contract, rule by rule. Without NAME: list what can be checked.

    A plugin says by an entry point of the group `berty.conformance` which suite checks it.
    Exit code 1: a rule is broken.

    \b
    Examples:
      berty conformance
      berty conformance mdns
      berty conformance serial -o device=/dev/ttyUSB0 --peer /dev/ttyUSB1 --level hardware --report serial.json
    """
    if name is None:
        _list()
        return
    suite = _configured(_find(name), (*options, *([f"peer={peer}"] if peer else [])), level)
    reports = [_run(suite, backend, quiet) for backend in suite.backends()]
    if report is not None:
        report.write_text(write_json(reports))
    if not all(each.is_green for each in reports):
        raise click.exceptions.Exit(1)


def _list() -> None:
    names = _names()
    if not names:
        click.echo("No installed plugin declares a suite.", err=True)
    for name in names:
        click.echo(name)


def _names() -> list[str]:
    return sorted(point.name for point in importlib.metadata.entry_points(group=GROUP))


def _find(name: str) -> type[Suite]:
    found = list(importlib.metadata.entry_points(group=GROUP, name=name))
    if not found:
        known = ", ".join(_names()) or "none"
        raise UserError(
            f"no installed plugin declares a suite named {name!r} (there are: {known}): `berty plugin list`"
        )
    try:
        suite = found[0].load()
    except Exception as error:  # a stranger's module may raise anything at import
        raise UserError(f"the suite of {name} cannot be loaded: {type(error).__name__}: {error}") from error
    if not (isinstance(suite, type) and issubclass(suite, Suite)):
        raise UserError(f"{found[0].value} is no conformance suite")
    return suite


def _configured(suite: type[Suite], options: tuple[str, ...], level: str | None) -> type[Suite]:
    given = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key:
            raise UserError(f"-o {option}: write it as KEY=VALUE")
        given[key] = value
    return type(suite.__name__, (suite,), {"options": {**suite.options, **given}, "level": level or suite.level})


def _run(suite: type[Suite], backend: str, quiet: bool) -> Report:
    from .conformance import run_suite  # noqa: PLC0415  slow

    def show(result: Result) -> None:
        if result.status == BROKEN or not quiet:
            mark = MARKS.get(result.status, result.status)
            reason = f" ({result.reason})" if result.reason and result.status != BROKEN else ""
            click.echo(f"{result.rule:4} {mark:8} {result.words}{reason}")
        if result.status == BROKEN:
            click.echo("     " + "\n     ".join(result.reason.splitlines()[1:]))

    if backend:
        click.echo(f"{suite.shown_title()} on {backend}, {suite.level}")

    report = run_suite(suite, backend=backend, progress=show)
    click.echo(report.line())
    sys.stdout.flush()
    return report
