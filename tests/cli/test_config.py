"""`berty config`: what is shown, what is found wrong, and changes that are written only when they fit."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from .conftest import Home
from .terminal import Terminal
from .test_commands import has_shape

FILE = """# Ann's device
[node]
keyring = false            # no desktop here
disabled = ["libp2p", "udp"]

[plugins.mdns]
loopback = true
"""


@pytest.fixture
def device(ann: Home) -> Home:
    """A home with a file that somebody wrote by hand."""
    (ann.path / "berty.toml").write_text(FILE)
    return ann


def text(home: Home) -> str:
    """The file as it is."""
    return (home.path / "berty.toml").read_text()


def test_show(device: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting has its value and where it is from; what is printed is a file with the same meaning."""
    monkeypatch.setenv("BERTY_NODE_PROFILE", "wesh")
    shown = device.berty("-s", "plugins.mdns.ip=4", "config", "show", "--origin").out
    assert f"keyring = false                           # {device.path}/berty.toml:3" in shown
    assert 'acknowledge = "small"                     # default' in shown
    assert "# BERTY_NODE_PROFILE" in shown
    assert "# -s plugins.mdns.ip=4" in shown
    assert has_shape("setting", device.berty("config", "show", "--json").data[0])
    by_key = {view["key"]: view for view in device.berty("config", "show", "--json").data}
    assert by_key["node.profile"] == {
        "key": "node.profile",
        "value": "wesh",
        "default": "berty",
        "origin": {"kind": "environment", "name": "BERTY_NODE_PROFILE", "line": 0},
    }
    assert by_key["plugins.mdns.loopback"]["origin"]["line"] == 7
    monkeypatch.delenv("BERTY_NODE_PROFILE")
    assert device.berty("config", "set", "node.transports.mdns.metered", "never").code == 0
    before = device.berty("config", "show").out
    assert '[node.transports.mdns]\nmetered = "never"\n' in before
    (device.path / "berty.toml").write_text(before)
    assert device.berty("config", "check").code == 0
    assert device.berty("config", "show").out == before


def test_misspelt_transports(device: Home) -> None:
    """A name that is nearly a plugin's is a fault with its line; one that is near to none may be installed later."""
    file = device.path / "berty.toml"
    file.write_text(
        "[node]\nkeyring = false\nprefer = ['mdsn', 'lora-868']\n[node.transports.upd]\nmetered = 'never'\n"
    )
    answer = device.berty("config", "check")
    assert answer.code == 78
    assert answer.out.splitlines() == [
        f"{file}:3: [node] prefer: there is no plugin 'mdsn', did you mean mdns?",
        f"{file}:4: [node] transports.upd: there is no plugin 'upd', did you mean udp?",
    ]
    assert device.berty("send", "Bob", "hello").code == 78
    file.write_text(
        "[node]\nkeyring = false\nprefer = ['lora-868', 'mdns']\n[node.transports.radio]\nmetered = 'never'\n"
    )
    assert device.berty("config", "check").code == 0


def test_show_with_faults(device: Home) -> None:
    """What can be shown is shown; a fault that stops is the exit code, another one is told."""
    (device.path / "berty.toml").write_text("[plugins.mdns]\nport = 'x'\n[node]\nkeyring = false\n")
    answer = device.berty("config", "show")
    assert answer.code == 0
    assert 'port = "x"' in answer.out
    assert "[plugins.mdns] port: a whole number is needed, not 'x'" in answer.err
    (device.path / "berty.toml").write_text("[node]\nprofile = 'go'\n")
    answer = device.berty("config", "show", "--origin")
    assert answer.code == 78
    assert "berty.toml:2: [node] profile: `berty`" in answer.err


def test_check(device: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """All faults of all layers in one run, each on its line; nothing wrong is exit code 0."""
    assert device.berty("config", "check").code == 0
    assert has_shape("check of the configuration", device.berty("config", "check", "--json").data)
    assert device.berty("config", "check", "--json").data == {"file": str(device.path / "berty.toml"), "faults": []}
    (device.path / "berty.toml").write_text(
        "[node]\nprofil = 'wesh'\nkeyring = 1\n[plugins.mdns]\nport = 70000\nloopbak = true\n[plugins.mdsn]\n"
    )
    monkeypatch.setenv("BERTY_NODE_ACKNOWLEDGE", "maybe")
    answer = device.berty("config", "check")
    assert answer.code == 78
    file = f"{device.path}/berty.toml"
    assert answer.out.splitlines() == [
        f"{file}:2: [node] profil: there is no such key, did you mean profile?",
        f"{file}:3: [node] keyring: true or false is needed, not 1",
        f"{file}:5: [plugins.mdns] port: a number from 0 (a fresh one each time) to 65535 is needed, not 70000",
        f"{file}:6: [plugins.mdns] loopbak: there is no such key, did you mean loopback?",
        f"{file}:7: [plugins.mdsn] there is no such plugin, did you mean mdns?",
        "BERTY_NODE_ACKNOWLEDGE: [node] acknowledge: one of 'never', 'small', 'always' is needed, not 'maybe'",
    ]
    assert "6 faults: no node starts with this" in answer.err
    answer = device.berty("config", "check", "--json")
    assert answer.code == 78
    faults = json.loads(answer.out)["faults"]
    assert [fault["stops"] for fault in faults] == [True, True, False, False, False, True]
    assert faults[0] == {
        "origin": "file",
        "name": file,
        "line": 2,
        "table": "node",
        "key": "profil",
        "reason": "there is no such key, did you mean profile?",
        "stops": True,
    }


def test_check_says_what_a_node_does(device: Home) -> None:
    """A fault in a plugin's table is one of the file, and starts a node without the plugin."""
    (device.path / "berty.toml").write_text("[plugins.mdns]\nport = -1\n")
    answer = device.berty("config", "check")
    assert answer.code == 78
    assert "1 fault: a node starts without these plugins" in answer.err


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("node.profile", "wesh", 'profile = "wesh"'),
        ("node.keyring", "true", "keyring = true            # no desktop here"),
        ("plugins.mdns.ip", "4", 'ip = "4"'),
        ("plugins.mdns.port", "4001", "port = 4001"),
        ("plugins.libp2p.host", "192.0.2.1", 'host = "192.0.2.1"'),
        ("node.disabled", "libp2p,mdns", 'disabled = ["libp2p", "mdns"]'),
        ("node.disabled", "[]", "disabled = []"),
        ("node.transports.mdns.min_battery", "-1", "min_battery = -1.0"),
    ],
)
def test_set(device: Home, key: str, value: str, line: str) -> None:
    """A value is written as its setting needs it; the comments and all else stay."""
    assert device.berty("config", "set", key, value).code == 0
    assert line in text(device).splitlines()
    assert {"# Ann's device", "[node]", "[plugins.mdns]"} <= set(text(device).splitlines())
    assert "# no desktop here" in text(device)
    assert device.berty("config", "check").code == 0


@pytest.mark.parametrize(
    ("key", "value", "code", "words"),
    [
        ("node.profile", "go", 78, "`berty` (as the Berty app has it) or `wesh` is needed, not 'go'"),
        ("node.transports.mdns.bytes_per_day", "-5", 78, "bytes_per_day: 0 (no limit) or more is needed, not -5"),
        ("node.profil", "wesh", 78, "there is no such key, did you mean profile?"),
        ("plugins.mdns.ip", "6", 78, "loopback: it works on IPv4 only"),
        ("plugins.mdsn.ip", "6", 78, "there is no such plugin, did you mean mdns?"),
        ("plugins.mdns", "1", 1, "write it as node.KEY or plugins.NAME.KEY"),
        ("profile", "wesh", 1, "write it as node.KEY"),
        ("nodes.profile", "wesh", 78, "[nodes] there is no such table, did you mean node?"),
    ],
)
def test_what_is_not_set(device: Home, key: str, value: str, code: int, words: str) -> None:
    """What does not fit is refused in the words of a check, and nothing is written."""
    answer = device.berty("config", "set", key, value)
    assert answer.code == code
    assert words in answer.err
    assert text(device) == FILE


def test_set_beside_another_fault(device: Home) -> None:
    """What is wrong elsewhere does not keep a value from being mended."""
    (device.path / "berty.toml").write_text("[node]\nprofile = 'go'\nkeyring = 1\n")
    assert device.berty("config", "set", "node.profile", "wesh").code == 0
    assert device.berty("config", "unset", "node.keyring").code == 0
    assert text(device) == '[node]\nprofile = "wesh"\n'


def test_unset(device: Home) -> None:
    """A key or a whole table; one that is not in the file is told with where to look."""
    assert device.berty("config", "unset", "plugins.mdns.loopback").code == 0
    assert device.berty("config", "unset", "plugins.mdns").code == 0
    assert "mdns" not in text(device)
    answer = device.berty("config", "unset", "node.profile")
    assert answer.code == 1
    assert "node.profile is not set in the file" in answer.err


def test_what_wins_over_the_file(device: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes a value that does not count is told what counts."""
    monkeypatch.setenv("BERTY_NODE_ACKNOWLEDGE", "always")
    answer = device.berty("config", "set", "node.acknowledge", "never")
    assert answer.code == 0
    assert "BERTY_NODE_ACKNOWLEDGE wins over the file" in answer.err


def test_path_and_a_first_file(nobody: Home) -> None:
    """Settings can be made before the account; the file is private."""
    assert nobody.berty("config", "path").out == f"{nobody.path}/berty.toml\n"
    assert not nobody.path.exists()
    assert nobody.berty("config", "set", "node.keyring", "false").code == 0
    assert text(nobody) == "[node]\nkeyring = false\n"
    assert (nobody.path / "berty.toml").stat().st_mode & 0o777 == 0o600
    assert nobody.berty("init", "--name", "Ann").code == 0
    assert (nobody.path / "key").exists()


# -- editing -------------------------------------------------------------------------------------


def editor(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """An editor that changes its file by a line of Python, with the text as `t` and the path as `p`."""
    code = f"import sys, pathlib; p = pathlib.Path(sys.argv[1]); t = p.read_text(); {program}"
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", shlex.join([sys.executable, "-c", code]))


def test_edit(device: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy is edited, and takes the file's place when nothing is wrong with it."""
    editor(monkeypatch, "p.write_text(t.replace('loopback = true', 'port = 9'))")
    assert device.berty("config", "edit").out == f"{device.path}/berty.toml is written.\n"
    assert text(device) == FILE.replace("loopback = true", "port = 9")
    editor(monkeypatch, "pass")
    assert device.berty("config", "edit").out == "Nothing was changed.\n"
    assert {path.name for path in device.path.iterdir() if "berty-" in path.name} == set()


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("p.write_text(t + 'prot = 1')", 78, "[plugins.mdns] prot: there is no such key, did you mean port?"),
        ("p.write_text('[node')", 78, "no valid TOML"),
        ("p.write_bytes(bytes([255]))", 78, "no UTF-8"),
        ("sys.exit(3)", 1, "ended with 3; nothing was changed"),
    ],
)
def test_an_edit_that_does_not_fit(
    device: Home, monkeypatch: pytest.MonkeyPatch, program: str, code: int, words: str
) -> None:
    """Without a terminal to ask on, the file stays as it was."""
    editor(monkeypatch, program)
    answer = device.berty("config", "edit", stdin=b"")
    assert answer.code == code
    assert words in answer.err
    assert text(device) == FILE


def test_editors_that_are_none(device: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """$VISUAL comes first; what cannot be started is named."""
    monkeypatch.setenv("VISUAL", "/no/such/editor --now")
    monkeypatch.setenv("EDITOR", "true")
    answer = device.berty("config", "edit")
    assert answer.code == 1
    assert "the editor '/no/such/editor --now' cannot be started" in answer.err
    monkeypatch.setenv("VISUAL", "'unfinished")
    assert "cannot be started" in device.berty("config", "edit").err


def test_a_file_that_somebody_else_changes(device: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their change is not lost."""
    file = device.path / "berty.toml"
    editor(monkeypatch, f"pathlib.Path({str(file)!r}).write_text('# theirs'); p.write_text(t + '# mine')")
    answer = device.berty("config", "edit")
    assert answer.code == 1
    assert "was changed by somebody else meanwhile" in answer.err
    assert text(device) == "# theirs"


def test_a_first_edit(nobody: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins with every setting and its default, switched off; each can be switched on as it stands there."""
    editor(monkeypatch, "p.write_text(t.replace('# keyring', 'keyring'))")
    assert nobody.berty("config", "edit").code == 0
    assert "\nkeyring = true\n" in text(nobody)
    assert "# loopback = false\n" in text(nobody)
    lines = [line.removeprefix("# ") if " = " in line else line for line in text(nobody).splitlines()]
    (nobody.path / "berty.toml").write_text("\n".join(lines))
    assert nobody.berty("config", "check").code == 0


def test_editing_again(device: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a terminal the faults are shown, and the same copy can be edited again."""
    mark = tmp_path / "once"
    editor(
        monkeypatch,
        f"m = pathlib.Path({str(mark)!r}); first = not m.exists(); m.write_text('x'); "
        "p.write_text(t + '[node]\\nprofil = \"wesh\"' if first else t.replace('profil =', 'profile ='))",
    )
    (device.path / "berty.toml").write_text("# mine\n")
    with Terminal(device.command("config", "edit")) as terminal:
        terminal.expect("profil: there is no such key, did you mean profile?")
        terminal.expect("Edit again?")
        terminal.type("y\n")
        assert terminal.code() == 0
    assert 'profile = "wesh"' in text(device)


def test_completion(device: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys of settings are completed."""
    from berty_core.cli.main import run

    monkeypatch.setenv("_BERTY_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"berty --home {device.path} config set plugins.mdns.")
    monkeypatch.setenv("COMP_CWORD", "5")
    assert run([]) == 0
    keys = [line.removeprefix("plain,") for line in capsys.readouterr().out.split()]
    assert keys == [f"plugins.mdns.{name}" for name in ("interfaces", "ip", "port", "loopback")]
