"""Commands of plugins: found without loading them; a broken plugin is named, and everything else works."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import click
import pytest

from berty_core.cli.main import COMMANDS, run
from berty_core.cli.plugin_commands import INDEX, plugin_commands
from berty_core.contracts.command import CommandSpec
from berty_core.contracts.hookspecs import hookimpl
from berty_core.errors import UserError


@click.command()
def wave() -> None:
    """Wave."""
    click.echo("waved")


def plugin(monkeypatch: pytest.MonkeyPatch, name: str, *specs: object, source: str = "") -> EntryPoint:
    """An installed plugin that brings these commands, or does what its source says at import."""
    module = ModuleType(f"fake_{name}")
    if not source:
        module.berty_commands = hookimpl(lambda: specs, specname="berty_commands")  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return EntryPoint(name, module.__name__, INDEX)
    return EntryPoint(name, source, INDEX)


def spec(name: str = "wave", load: object = lambda: wave) -> CommandSpec:
    """A command."""
    return CommandSpec(name, "Wave at somebody.", load)  # type: ignore[arg-type]


def test_a_command_is_found_and_loaded_when_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its line is there at once, and the command once it is asked for."""
    loaded = []
    point = plugin(monkeypatch, "radio", spec(load=lambda: loaded.append(True) or wave))
    found = plugin_commands(None, COMMANDS, [point])
    assert found["wave"].help == "Wave at somebody."
    assert loaded == []
    assert found["wave"].load() is wave


def test_a_disabled_plugin_is_not_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the home's configuration disables brings no command; a file that cannot be read disables nothing."""
    point = plugin(monkeypatch, "radio", spec())
    (tmp_path / "berty.toml").write_text('[node]\ndisabled = ["radio"]\n')
    assert plugin_commands(tmp_path, COMMANDS, [point]) == {}
    for text in ("[node", "node = 1", "[node]\ndisabled = 3", "[node]\ndisabled = [3]"):
        (tmp_path / "berty.toml").write_text(text)
        assert list(plugin_commands(tmp_path, COMMANDS, [point])) == ["wave"]


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ((spec("send"),), "'send'"),
        ((spec("x"), spec("x")), "'x'"),
        ((CommandSpec("x", "y", None),), "CommandSpec"),  # type: ignore[arg-type]
        ((CommandSpec("a\nb", "y", lambda: wave),), "CommandSpec"),
        ((3,), "TypeError"),
    ],
)
def test_what_is_no_command(monkeypatch: pytest.MonkeyPatch, specs: tuple[object, ...], words: str) -> None:
    """A name that is taken, or something that is no command, names the plugin with its reason, and others work."""
    points = [plugin(monkeypatch, "bad", *specs), plugin(monkeypatch, "radio", spec())]
    found = plugin_commands(None, COMMANDS, points)
    assert set(found) == {"bad", "wave"}
    assert words in found["bad"].help
    with pytest.raises(UserError, match="the plugin bad cannot be used"):
        found["bad"].load()


def test_a_module_that_breaks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that is not there, raises, or exits at import is named."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "raises_at_import.py").write_text("raise RuntimeError('no radio')")
    (tmp_path / "exits_at_import.py").write_text("raise SystemExit(3)")
    names = ("nowhere_to_be_found", "raises_at_import", "exits_at_import")
    found = plugin_commands(None, COMMANDS, [plugin(monkeypatch, name, source=name) for name in names])
    assert set(found) == set(names)
    assert "no radio" in found["raises_at_import"].help


def test_a_module_that_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that never ends its import is left behind, and named."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("berty_core.cli.plugin_commands.IMPORT_TIME", 0.2)
    (tmp_path / "hangs_at_import.py").write_text("import threading\nthreading.Event().wait(30)")
    found = plugin_commands(None, COMMANDS, [plugin(monkeypatch, "slow", source="hangs_at_import")])
    assert "did not end within 0.2 s" in found["slow"].help


def test_a_plugin_with_the_name_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken plugin never hides a command of the core."""
    point = plugin(monkeypatch, "send", source="nowhere_to_be_found")
    assert list(plugin_commands(None, COMMANDS, [point])) == ["send-plugin"]


def test_a_command_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails only once it is used is said then, in words."""

    def fail() -> click.Command:
        raise ImportError("a library is missing")

    found = plugin_commands(None, COMMANDS, [plugin(monkeypatch, "radio", spec(load=fail))])
    with pytest.raises(UserError, match="radio cannot be used: loading its command raised ImportError: a library"):
        found["wave"].load()


def test_in_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The list shows commands of plugins and broken ones with words; both can be typed."""
    points = [plugin(monkeypatch, "radio", spec()), plugin(monkeypatch, "bad", source="nowhere_to_be_found")]
    monkeypatch.setattr("berty_core.cli.plugin_commands.entry_points", lambda group: points if group == INDEX else [])
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "Wave at somebody." in shown
    assert "Cannot be used: importing it raised" in shown
    assert run(["wave"]) == 0
    assert capsys.readouterr().out == "waved\n"
    assert run(["bad", "--anything"]) == 1
    assert "the plugin bad cannot be used" in capsys.readouterr().err
    assert run(["worse"]) == 2
