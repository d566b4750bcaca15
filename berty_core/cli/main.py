"""`berty`: the options of the whole, the commands by name, and what becomes of errors. Heavy modules load when used."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import BertyError, ConfigError, StoreLocked
from .settings import Passphrase, Settings, default_home
from .text import safe_lines

if TYPE_CHECKING:
    from ..contracts.command import CommandSpec

FAILURE, USAGE, TEMPORARY, CONFIGURATION, INTERRUPTED = 1, 2, 75, 78, 130
TERMINATED = 128 + signal.SIGTERM
COMPLETION = "_BERTY_COMPLETE"  # set by the shell when it asks what may come next
LISTING, PLUGIN_COMMANDS = "berty listing", "berty plugin commands"  # what a context remembers
COMMANDS = {
    "init": "account:init",
    "account": "account:account",
    "contact": "contact:contact",
    "group": "group:group",
    "send": "message:send",
    "read": "message:read",
    "tail": "message:tail",
    "chat": "chat:chat",
    "peer": "peer:peer",
    "run": "node:run",
    "sync": "node:sync",
    "status": "node:status",
    "why": "why:why",
    "stop": "node:stop",
    "config": "config:config",
    "plugin": "plugin:plugin",
    "doctor": "doctor:doctor",
    "demo": "demo:demo",
    "conformance": "..testing.command:conformance",  # what is for tests is imported by this name alone
    "completion": "completion:completion",
}


class LazyCommands(click.Group):
    """A group whose commands are imported when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order in which a person meets them, those of plugins last."""
        return [*COMMANDS, *_plugin_commands(ctx)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them, without loading those of plugins."""
        ctx.meta[LISTING] = True
        super().format_commands(ctx, formatter)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        if cmd_name not in COMMANDS:
            spec = _plugin_commands(ctx).get(cmd_name)
            if spec is None or LISTING in ctx.meta:
                return click.Command(cmd_name, help=spec.help) if spec else None
            return spec.load()
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(_within(module), __package__), attribute)
        return command


def _within(module: str) -> str:
    """The name of a module relative to this package."""
    return module if module.startswith(".") else f".{module}"


def _plugin_commands(ctx: click.Context) -> dict[str, CommandSpec]:
    found: dict[str, CommandSpec] | None = ctx.meta.get(PLUGIN_COMMANDS)
    if found is None:
        from .plugin_commands import plugin_commands  # noqa: PLC0415  only for what is no command of our own

        home: Path | None = ctx.params.get("home")
        found = ctx.meta[PLUGIN_COMMANDS] = plugin_commands((home or default_home()).expanduser(), COMMANDS)
    return found


@click.group(
    cls=LazyCommands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done; 1 not done, said in words; 2 wrong usage; 75 not now, try again (a timeout, or another "
    "process has the home); 78 bad configuration; 130 interrupted by Ctrl-C; 143 ended by SIGTERM.",
)
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="BERTY_HOME",
    show_envvar=True,
    metavar="DIR",
    help="Where this device's account and messages are.  [default: the user's data directory]",
)
@click.option(
    "-s",
    "--set",
    "overrides",
    multiple=True,
    metavar="TABLE.KEY=VALUE",
    help="Override the configuration when this command opens the home, e.g. plugins.mdns.loopback=true.",
)
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="BERTY_PASSPHRASE_FILE",
    show_envvar=True,
    metavar="FILE",
    help="Read the home's passphrase from the first line of a file.",
)
@click.option("--passphrase-fd", type=int, metavar="N", help="Read the home's passphrase from an open descriptor.")
@click.version_option(package_name="berty-core", prog_name="berty")
@click.pass_context
def berty(
    ctx: click.Context,
    home: Path | None,
    overrides: tuple[str, ...],
    passphrase_file: Path | None,
    passphrase_fd: int | None,
) -> None:
    """Talk to people nearby, end-to-end encrypted, with no server.

    \b
    Examples:
      berty demo                 # see three devices meet and talk
      berty init --name Ann      # make an account on this device
      berty contact link         # print the link that others add you with
      berty contact add 'LINK'   # ask somebody to be a contact
      berty run                  # take part: meet others and exchange
      berty chat Bob             # talk
    """
    ctx.obj = Settings(
        (home or default_home()).expanduser(), overrides, Passphrase(file=passphrase_file, descriptor=passphrase_fd)
    )


def main(arguments: list[str] | None = None) -> None:
    """Run `berty`; errors become words on standard error and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack a letter
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def _terminate(number: int, frame: object) -> None:
    """Leave in good order: what is open is closed on the way."""
    sys.exit(TERMINATED)


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code."""
    try:
        return _run(arguments)
    except click.exceptions.Exit as request:
        return request.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except BrokenPipeError:
        return _output_gone()
    except Exception as error:
        return _report(error)


def _run(arguments: list[str]) -> int:
    if instruction := os.environ.get(COMPLETION):
        return _complete(instruction)
    with berty.make_context("berty", list(arguments)) as context:
        berty.invoke(context)
    return 0


def _complete(instruction: str) -> int:
    from click.shell_completion import shell_complete  # noqa: PLC0415  only shells ask

    return shell_complete(berty, {}, "berty", COMPLETION, instruction)


def _interrupted() -> int:
    click.echo("interrupted", err=True)
    return INTERRUPTED


def _report(error: Exception) -> int:
    """Say what happened; the traceback is for those who ask for it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error.__cause__, KeyboardInterrupt):  # it came while a class was being made
        return _interrupted()
    debug = os.environ.get("BERTY_DEBUG") == "1"
    if debug:
        import traceback  # noqa: PLC0415

        traceback.print_exception(error)
    click.echo("berty: " + "\n  ".join(safe_lines(_words(error))), err=True)
    if not isinstance(error, BertyError | OSError) and not debug:
        click.echo("This is a fault of the program; BERTY_DEBUG=1 shows where it happened.", err=True)
    try:
        sys.stdout.flush()
    except OSError:
        _forget_output()
    return _exit_code(error)


def _words(error: Exception) -> str:
    if isinstance(error, BertyError):
        return str(error)
    if isinstance(error, OSError):  # the disk is full, a device is gone: the system's words say it best
        return f"{error.filename or 'the system refuses'}: {error.strerror or error}"
    return f"unexpected {type(error).__name__}: {error}"


def _exit_code(error: Exception) -> int:
    from ..runtime.control_socket import NodeEnded, NotInTime  # noqa: PLC0415  only errors need it

    if isinstance(error, ConfigError):
        return CONFIGURATION
    return TEMPORARY if isinstance(error, NodeEnded | NotInTime | StoreLocked) else FAILURE


def _output_gone() -> int:
    """Whoever read our output has had enough."""
    _forget_output()
    return 0


def _forget_output() -> None:
    """What is still to be written has nowhere to go; the interpreter must not complain about it while it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
