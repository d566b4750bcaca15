"""Help: each command has examples that can be typed, and the reference page says what the commands say."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from berty_core.cli.main import berty, run
from berty_core.cli.settings import Passphrase, Settings

ROOT = Path(__file__).parent.parent.parent


def all_commands(command: click.Command = berty, name: str = "berty") -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, groups too."""
    yield name, command
    if isinstance(command, click.Group):
        for child in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), child)
            assert found is not None
            yield from all_commands(found, f"{name} {child}")


COMMANDS = dict(all_commands())


def examples(command: click.Command) -> list[list[str]]:
    """The words behind `berty` of each example; a pipe or redirection is the shell's."""
    block = re.split(r"Examples?:\n", command.help or "")[-1]
    lines = [line.split("| berty ")[-1].strip().removeprefix("berty ") for line in block.splitlines()]
    commands = [re.split(r" [|<>] ", line)[0] for line in lines if line and not line.startswith("eval ")]
    return [shlex.split(line, comments=True) for line in commands]


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_can_be_typed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each example passes the whole parser, up to the point where its command would begin to work."""
    reached = []
    for command in COMMANDS.values():
        if not isinstance(command, click.Group):
            monkeypatch.setattr(command, "callback", lambda **_: reached.append(True))
    found = examples(COMMANDS[name])
    if name != "berty completion":
        assert found
    for words in found:
        assert run(words) == 0
    assert len(reached) == len(found)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` works everywhere, without a home; it shows the usage and every option with words."""
    assert run([*name.split()[1:], "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: {name} ")
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts} has no words"
            assert parameter.opts[0] in shown


def test_short_help_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """The list of commands cuts no sentence off on a terminal of 80 columns."""
    assert run(["--help"]) == 0
    assert "..." not in capsys.readouterr().out.split("Commands:")[1]


def test_no_option_takes_a_secret() -> None:
    """Every user of a machine can see arguments: a passphrase comes from a prompt, a file or a descriptor."""
    for name, command in COMMANDS.items():
        for option in command.params:
            if isinstance(option, click.Option) and "passphrase" in option.opts[0]:
                assert option.is_flag or option.opts[0] in ("--passphrase-file", "--passphrase-fd"), name


def test_a_passphrase_is_not_shown() -> None:
    """Wherever the settings of a command are printed, a passphrase that was read is left out."""
    settings = Settings(Path("home"), (), Passphrase(known="correct horse"))
    assert "horse" not in f"{settings!r} {settings}"


def test_the_reference_is_up_to_date() -> None:
    """The page is what its generator makes of the commands: `python tests/generate_cli_reference.py`."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "tests" / "generate_cli_reference.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    text = generator.PAGE.read_text()
    assert generator.page(text) == text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each shell gets a script that asks this program."""
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_BERTY_COMPLETE={shell}_complete" in script
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=script.encode(), check=False).returncode == 0


def test_completion_answers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands are completed without a home."""
    monkeypatch.setenv("_BERTY_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "berty contact a")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert run([]) == 0
    assert capsys.readouterr().out.split() == ["plain,accept", "plain,add"]


def test_version_and_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is printed; what nobody knows is wrong usage, with exit code 2."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("berty, version ")
    assert run(["foo"]) == 2
    assert "No such command 'foo'" in capsys.readouterr().err
    assert run(["send", "Bob"]) == 2
    assert "Missing argument 'TEXT'" in capsys.readouterr().err
    assert run([]) == 2


def test_heavy_modules_load_when_used() -> None:
    """Help and the version need neither the node nor anything that is slow to import."""
    program = (
        "import sys; from berty_core.cli.main import run; run(['--help']); run(['contact', 'add', '--help']);"
        "print(*{'anyio', 'asyncio', 'cattrs', 'nacl', 'cryptography', 'google', 'rich', 'sqlite3', 'prompt_toolkit',"
        "'segno', 'keyring', 'zeroconf'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.split() == []
