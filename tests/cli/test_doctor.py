"""`berty doctor`: each thing that can be wrong is found, with why it matters and a command; it works on any home."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berty_core.cli.checks import CoreChecks
from berty_core.cli.main import run
from berty_core.cli.settings import Settings
from berty_core.cli.survey import survey
from berty_core.runtime.home import KEY_FILE, MARK_FILE

from .conftest import Home, end, until
from .test_commands import has_shape

CHECKS = ["python", "home", "key", "config", "plugins", "profile", "clock", "disk", "store", "node", "terminal"]


def findings(home: Home) -> dict[str, dict[str, Any]]:
    """The worst finding of each check."""
    answer = home.berty("doctor", "--json")
    found = json.loads(answer.out)
    assert has_shape("examination", found)
    assert answer.code == (1 if found["problems"] else 0)
    worst = {"ok": 0, "warning": 1, "problem": 2}
    return {view["check"]: view for view in sorted(found["findings"], key=lambda view: worst[view["level"]])}


def test_a_sound_home(ann: Home) -> None:
    """Every check runs, those of plugins too, and none finds a problem; what is not ok has words and a command."""
    found = findings(ann)
    assert {*CHECKS, "completion", "mdns network"} <= set(found)
    assert {view["level"] for view in found.values()} == {"ok", "warning"}
    for view in found.values():
        assert view["what"]
        assert view["level"] == "ok" or (view["why"] and view["command"])
    assert found["key"]["level"] == "warning"  # a key file
    assert found["mdns network"]["command"] == f"berty --home {ann.path} config unset plugins.mdns.loopback"


def test_what_a_person_sees(ann: Home) -> None:
    """Level, name and words in columns, then why and what to type."""
    lines = ann.berty("doctor").out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("warning  key "))
    assert "who can read your files" in lines[place + 1]
    assert lines[place + 2].strip().startswith("$ berty ")
    assert re.fullmatch(r"0 problems, [2-9] warnings\.", lines[-1])


def test_no_home(nobody: Home) -> None:
    """It says how to make one, and makes nothing."""
    found = findings(nobody)
    assert found["home"]["level"] == "warning"
    assert found["home"]["command"] == f"berty --home {nobody.path} init --name YOUR-NAME"
    assert not nobody.path.exists()


def lose_key(home: Path) -> None:
    (home / KEY_FILE).unlink()


def empty_store(home: Path) -> None:
    (home / "berty.sqlite3").unlink()


def spoil_store(home: Path) -> None:
    (home / "berty.sqlite3").write_bytes(b"no database" * 500)


def open_home(home: Path) -> None:
    home.chmod(0o755)


def open_key(home: Path) -> None:
    (home / KEY_FILE).chmod(0o644)


def break_file(home: Path) -> None:
    (home / "berty.toml").write_text("[node\n")


def break_table(home: Path) -> None:
    (home / "berty.toml").write_text("[plugins.mdns]\nport = -1\n[node]\ndisabled = ['libp2p', 'udp', 'unix']\n")


def directory_as_file(home: Path) -> None:
    (home / "berty.toml").unlink()
    (home / "berty.toml").mkdir()


def disable_all(home: Path) -> None:
    (home / "berty.toml").write_text("[node]\ndisabled = ['mdns', 'sqlite', 'udp', 'unix']\n")


def absent_interface(home: Path) -> None:
    (home / "berty.toml").write_text("[plugins.mdns]\ninterfaces = ['radio7']\n")


def future(home: Path) -> None:
    os.utime(home / MARK_FILE, (4e9, 4e9))


@pytest.mark.parametrize(
    ("damage", "check", "level", "words"),
    [
        (lose_key, "key", "problem", "neither in a file in it nor in your keyring"),
        (open_key, "key", "problem", "is open to others"),
        (open_home, "home", "problem", "is open to others"),
        (empty_store, "store", "problem", "the store of"),
        (spoil_store, "store", "problem", "berty.sqlite3"),
        (break_file, "config", "problem", "berty.toml:1: no valid TOML"),
        (break_table, "config", "problem", "[plugins.mdns] port: a number from 0"),
        (break_table, "plugins", "problem", "no plugin that carries messages can be used"),
        (directory_as_file, "config", "problem", "it is no file"),
        (disable_all, "store", "problem", "the store 'sqlite' is disabled"),
        (absent_interface, "mdns network", "problem", "no network interface can be used"),
        (future, "clock", "warning", "the home was used later"),
    ],
)
def test_what_is_wrong(ann: Home, damage: Callable[[Path], None], check: str, level: str, words: str) -> None:
    """Each damage is found by its check, the other checks go on, and nothing is changed by looking."""
    damage(ann.path)
    before = {path.name: path.stat().st_size for path in ann.path.iterdir() if path.name != "lock"}
    found = findings(ann)
    assert found[check]["level"] == level
    assert words in found[check]["what"]
    assert found[check]["why"]
    assert found[check]["command"]
    assert set(CHECKS) <= set(found)
    after = {path.name: path.stat().st_size for path in ann.path.iterdir() if path.name != "lock"}
    assert {name: size for name, size in after.items() if name in before} == before


def test_a_home_that_is_a_copy_stays_one(ann: Home, nobody: Home) -> None:
    """Looking at a home does not take it for opened: a copy still gives itself away afterwards."""
    shutil.copytree(ann.path, nobody.path)
    findings(nobody)
    assert "this home is a copy" in nobody.berty("status").err


def test_a_node_that_runs(ann: Home) -> None:
    """The doctor is its client, and opens nothing that it has open."""
    process = ann.start("run")
    try:
        until((ann.path / "socket").exists)
        found = findings(ann)
        assert found["node"]["what"] == f"a node runs (process {process.pid})"
        assert found["store"]["what"] == "the node that runs has the store open"
        answer = ann.berty("plugin", "disable", "libp2p")
        assert "libp2p is disabled" in answer.out
        answer = ann.berty("config", "set", "node.acknowledge", "never")
        assert "`berty stop`, then `berty run`" in answer.err
    finally:
        end(process)


def test_a_variable(ann: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the environment is mended there."""
    monkeypatch.setenv("BERTY_PLUGINS_MDNS_PORT", "x")
    assert findings(ann)["config"]["command"] == "unset BERTY_PLUGINS_MDNS_PORT"
    assert any(
        "BERTY_PLUGINS_MDNS_PORT" in left["reason"] for left in ann.berty("status", "--json").data["plugins_not_used"]
    )


def test_the_machine(ann: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of 1970, a disk that is nearly full, a terminal without letters, a shell with and without completion."""
    settings = Settings(ann.path)
    checks = CoreChecks(settings, survey(settings))
    assert [finding.level for finding in checks._clock(0.0)] == ["problem"]
    assert "1970" in checks._clock(86_400.0)[0].what
    for free, level in ((1 << 20, "problem"), (100 << 20, "warning"), (1 << 30, "ok")):
        usage = shutil._ntuple_diskusage(1, 1, free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        assert checks._disk()[0].level == level
    assert checks._terminal("utf-8")[0].level == "ok"
    assert checks._terminal("ANSI_X3.4-1968")[0].command == "export LANG=C.UTF-8"
    monkeypatch.setenv("HOME", str(ann.path))
    assert checks._completion("/bin/bash")[0].command.startswith("echo")
    (ann.path / ".bashrc").write_text('eval "$(berty completion bash)"\n')
    assert checks._completion("/bin/bash")[0].command == ""
    assert checks._completion("/bin/tcsh")[0].command == ""


def test_without_anything(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The home need not be named."""
    monkeypatch.setattr(sys, "stdin", None)
    assert run(["doctor", "--json"]) == 0
    commands = [view["command"] for view in json.loads(capsys.readouterr().out)["findings"]]
    assert "berty init --name YOUR-NAME" in commands
