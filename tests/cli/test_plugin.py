"""`berty plugin`: what is listed, what is shown of one, and switching off and on."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

from .conftest import Home
from .test_commands import has_shape

INSTALLED = ", ".join(sorted(point.name for point in entry_points(group="berty.plugins")))


def states(home: Home) -> dict[str, str]:
    """The state of each plugin by its name."""
    return {view["name"]: view["state"] for view in home.berty("plugin", "list", "--json").data}


def test_list(ann: Home) -> None:
    """Each plugin has its version, what it brings and its state; the reason stands below, with what to do."""
    (ann.path / "berty.toml").write_text(
        "[node]\ndisabled = ['libp2p', 'udp', 'unix']\n[plugins.mdns]\nport = 'x'\n[plugins.radio]\n"
    )
    wanted = {"libp2p": "disabled", "mdns": "refused", "sqlite": "used", "radio": "missing"}
    assert wanted.items() <= states(ann).items()
    answer = ann.berty("plugin", "list")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert next(line for line in lines if line.startswith("libp2p")).split() == ["libp2p", "0.1.0", "disabled"]
    assert next(line for line in lines if line.startswith("sqlite")).split() == [
        "sqlite",
        "0.1.0",
        "store",
        "sqlite",
        "used",
    ]
    assert "mdns: " in answer.err
    assert "[plugins.mdns] port: a whole number is needed, not 'x'\n  `berty config edit`" in answer.err
    assert f"radio: there is no such plugin; installed are {INSTALLED}" in answer.err
    view = next(view for view in ann.berty("plugin", "list", "--json").data if view["name"] == "mdns")
    assert has_shape("plugin", view)
    assert ["file", "0.1.0", "command", "file", "used"] in [line.split() for line in lines]
    assert view["distribution"] == "berty-mdns"
    assert view["brings"] == {"transport": ["mdns"], "check": ["network"]}
    assert view["hooks"] == ["berty_checks", "berty_transports"]


def test_show(ann: Home) -> None:
    """Hooks, what it was tested on, and each setting with type, default, words and the value here."""
    shown = ann.berty("plugin", "show", "mdns").out
    assert "berty_checks, berty_transports" in shown
    assert "emulated: Linux, several processes on loopback" in shown
    assert f"loopback: true or false; default false, now true by {ann.path}/berty.toml:5" in shown
    assert "      TCP port; 0: a fresh one with each advert" in shown
    data = ann.berty("plugin", "show", "mdns", "--json").data
    assert has_shape("shown plugin", data)
    by_key = {view["key"]: view for view in data["settings"]}
    assert by_key["plugins.mdns.ip"]["type"] == '"4" or "6" or "both"'
    assert by_key["plugins.mdns.interfaces"]["type"] == "list of: text"
    assert data["tested_on"][0].startswith("emulated")


def test_every_setting_has_words(ann: Home) -> None:
    """Nobody has to guess what a setting is for."""
    ann.berty("config", "set", "node.disabled", "[]")
    for name in ("mdns", "libp2p"):
        for view in ann.berty("plugin", "show", name, "--json").data["settings"]:
            assert view["doc"], view["key"]


@pytest.mark.parametrize("command", ["show", "disable", "enable"])
def test_an_unknown_one(ann: Home, command: str) -> None:
    """The nearest name, or all of them."""
    answer = ann.berty("plugin", command, "mdsn")
    assert (answer.code, answer.err) == (1, "berty: there is no plugin 'mdsn', did you mean mdns?\n")
    assert f"installed are {INSTALLED}" in ann.berty("plugin", command, "x").err


def test_off_and_on(ann: Home) -> None:
    """The file keeps its comments; what is off is not imported, and what is on is used."""
    (ann.path / "berty.toml").write_text("# mine\n[node]\nkeyring = false # yes\n")
    assert ann.berty("plugin", "disable", "mdns").out == "mdns is disabled.\n"
    assert ann.berty("plugin", "disable", "mdns").code == 0
    assert ann.berty("plugin", "disable", "libp2p").code == 0
    file = (ann.path / "berty.toml").read_text()
    assert file == '# mine\n[node]\nkeyring = false # yes\ndisabled = ["mdns", "libp2p"]\n'
    assert {"libp2p": "disabled", "mdns": "disabled", "sqlite": "used"}.items() <= states(ann).items()
    assert ann.berty("plugin", "enable", "mdns").out == "mdns is enabled.\n"
    assert states(ann)["mdns"] == "used"


def test_a_store_is_needed(ann: Home) -> None:
    """Whoever would switch it off is told why not."""
    answer = ann.berty("plugin", "disable", "sqlite")
    assert answer.code == 1
    assert "cannot be without it" in answer.err
    (ann.path / "berty.toml").write_text("[node]\ndisabled = ['sqlite']\n")
    assert "`berty plugin enable sqlite`" in ann.berty("status").err
    assert ann.berty("plugin", "enable", "sqlite").code == 0
    assert ann.berty("status").code == 0


def test_a_table_of_the_store(ann: Home) -> None:
    """It has no settings; a table of it is a fault, and costs nothing."""
    (ann.path / "berty.toml").write_text("[plugins.sqlite]\nfast = true\n")
    assert "[plugins.sqlite] fast: there is no such key; this table has none" in ann.berty("config", "check").out
    assert ann.berty("status").code == 0


def test_a_variable_that_wins(ann: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever switches on what the environment switches off is told so."""
    monkeypatch.setenv("BERTY_NODE_DISABLED", "mdns")
    answer = ann.berty("plugin", "enable", "mdns")
    assert answer.out == "mdns is disabled.\n"
    assert "BERTY_NODE_DISABLED wins over the file" in answer.err


def test_a_broken_file(ann: Home) -> None:
    """The list is shown nevertheless; a change is refused with the place."""
    (ann.path / "berty.toml").write_text("[node")
    assert states(ann)["mdns"] == "used"
    answer = ann.berty("plugin", "disable", "mdns")
    assert answer.code == 78
    assert "berty.toml:1: no valid TOML" in answer.err


def test_completion(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of plugins are completed."""
    from berty_core.cli.main import run

    monkeypatch.setenv("_BERTY_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "berty plugin disable li")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert run([]) == 0
    assert capsys.readouterr().out.split() == ["plain,libp2p"]


def test_a_name_that_is_taken(ann: Home, tmp_path: Path) -> None:
    """Who writes a plugin that cannot be used beside an installed one is told so; other names say nothing."""
    taken = ann.berty("plugin", "new", "mdns", "--in", str(tmp_path))
    assert taken.code == 0
    assert "a plugin named mdns is installed already: only one of the two can be used" in taken.err
    assert "installed already" not in ann.berty("plugin", "new", "smoke", "--in", str(tmp_path)).err
