"""Layers: what a file may be, what a variable may mean, and where each value is said to come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.config import EXIT_CONFIG, NodeConfig, examine, read_config
from berty_core.errors import ConfigError
from berty_core.settings.layers import MAX_FILE, read_environment, read_file, read_options, read_text, variable

NAMES = st.from_regex("[a-z][a-z0-9_]{0,8}[a-z0-9]", fullmatch=True).filter(lambda name: "__" not in name)


def written(home: Path, text: str | bytes) -> Path:
    """A home with this file."""
    (home / "berty.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return home


@given(st.one_of(st.binary(max_size=60), st.text(alphabet="[]{}=.,\"'#\n ab1\\", max_size=60).map(str.encode)))
def test_any_bytes(data: bytes) -> None:
    """Any content gives tables, or one fault that names the file and no line that is not there."""
    layers = read_text("berty.toml", data)
    assert layers.tables or not data.strip() or layers.faults or not read_text("", data).tables
    for fault in layers.faults:
        assert str(fault).startswith("berty.toml")
        assert 0 <= fault.origin.line <= data.count(b"\n") + data.count(b"\r") + 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[node]\nname = '\xe9'", ":2: byte 0xE9 is no UTF-8: save the file as UTF-8"),
        (b"[node", ":1: no valid TOML: expected ']' at the end of a table declaration"),
        (b"a = 1\nb = [\n1", ":3: no valid TOML: unclosed array"),
        (b"[node]\n\n[node]", ":3: no valid TOML: this is set a second time (first in line 1); a table or key"),
        (b"[plugins.a]\n[node]\nx = 1\nx = 2", ":4: no valid TOML: this is set a second time (first in line 3)"),
        (b"a = " + b"[" * 5000, "nested too deep"),
        (b"#" * (MAX_FILE + 1), f"more than {MAX_FILE} bytes"),
        (b"noed.profile = 1", ":1: [noed] there is no such table, did you mean node?"),
        (b"x = 1", ":1: [x] there is no such table; there are [node] and [plugins.NAME]"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, words: str) -> None:
    """The node does not start, and the words name the place."""
    home = written(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        read_config(home, environment={})
    assert str(caught.value).startswith(str(home / "berty.toml"))
    assert words in str(caught.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    """A directory, a pipe that nobody writes to, and a file of somebody else."""
    assert read_file(tmp_path / "none").faults == ()
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, words in (("directory", "it is no file"), ("pipe", "it is no file"), ("loop", "it cannot be read")):
        (fault,) = read_file(tmp_path / name).faults
        assert words in str(fault)
    if os.getuid():
        (tmp_path / "locked").write_text("")
        (tmp_path / "locked").chmod(0)
        assert "it cannot be read: Permission denied" in str(read_file(tmp_path / "locked").faults[0])


def test_a_mark_of_byte_order(tmp_path: Path) -> None:
    """Some editors begin a file with one."""
    assert (
        read_config(written(tmp_path, b'\xef\xbb\xbf[node]\r\nprofile = "wesh"\r\n'), environment={}).profile == "wesh"
    )


def test_each_layer_wins_over_those_below(tmp_path: Path) -> None:
    """Defaults, file, environment, option; the others of a table stay, and each value knows where it is from."""
    home = written(tmp_path, '[node]\nkeyring = false\nprofile = "wesh"\n[plugins.mdns]\nport = 1\nip = "4"\n')
    variables = {"BERTY_PLUGINS_MDNS_PORT": "2", "BERTY_NODE_ACKNOWLEDGE": "always", "HOME": "/root"}
    config = read_config(home, ["plugins.mdns.port=3", "node.disabled=a, b"], variables)
    assert config == NodeConfig(
        keyring=False,
        profile="wesh",
        acknowledge="always",
        disabled=("a", "b"),
        plugins={"mdns": {"port": 3, "ip": "4"}},
    )
    origins = {".".join(path): str(origin) for path, origin in config.origins.items() if path[-1] != "mdns"}
    assert origins == {
        "node": f"{home}/berty.toml:1",
        "node.keyring": f"{home}/berty.toml:2",
        "node.profile": f"{home}/berty.toml:3",
        "node.acknowledge": "BERTY_NODE_ACKNOWLEDGE",
        "node.disabled": "-s node.disabled=a, b",
        "plugins": f"{home}/berty.toml:4",
        "plugins.mdns.port": "-s plugins.mdns.port=3",
        "plugins.mdns.ip": f"{home}/berty.toml:6",
    }


def test_an_option_in_place_of_a_table(tmp_path: Path) -> None:
    """What lay below the table is gone, and so is where it was from."""
    layers = read_options(["plugins.a=1"]).over(read_text("f", b"[plugins.a]\nb = 2"))
    assert layers.tables == {"plugins": {"a": 1}}
    assert str(layers.origin(("plugins", "a"))) == "-s plugins.a=1"
    assert ("plugins", "a", "b") not in layers.origins


def test_all_faults_of_all_layers(tmp_path: Path) -> None:
    """One run says everything."""
    home = written(tmp_path, '[node]\nprofil = "x"\nkeyring = 1\n[nodes]\n')
    found = examine(home, ["node.disabled=[1]", "foo"], {"BERTY_NODE_PROFILE": "go", "BERTY_NODE_KEYRNG": "1"})
    assert found.config is None
    file = f"{home}/berty.toml"
    assert sorted(map(str, found.faults)) == sorted(
        [
            f"{file}:2: [node] profil: there is no such key, did you mean profile?",
            f"{file}:3: [node] keyring: true or false is needed, not 1",
            f"{file}:4: [nodes] there is no such table, did you mean node?",
            "-s foo: write it as TABLE.KEY=VALUE, for example plugins.mdns.loopback=true",
            '-s node.disabled=[1]: [node] disabled: a text in "quotes" is needed, not 1',
            "BERTY_NODE_KEYRNG: [node] keyrng: there is no such key, did you mean keyring?",
            "BERTY_NODE_PROFILE: [node] profile: `berty` (as the Berty app has it) or `wesh` is needed, not 'go'",
        ]
    )


@settings(max_examples=25)
@given(NAMES, st.lists(NAMES, min_size=1, max_size=3))
def test_a_variable_for_each_key(plugin: str, key: list[str]) -> None:
    """Whatever plugins and keys are called, with underscores too, each key has one variable that sets it."""
    for path in (("plugins", plugin, *key), ("node", *key)):
        found = examine(Path("/none"), (), {variable(path): "7"})
        if path[0] == "plugins":
            assert len(found.layers.tables["plugins"]) == 1
        text = f"[plugins.{plugin}]\n"
        layers = _with_table(text, {variable(path): "7"})
        assert layers.value(path) == 7


def _with_table(text: str, variables: dict[str, str]) -> object:
    from berty_core.config import examine_text

    return examine_text(Path("/none"), text.encode(), (), variables).layers


def test_plugins_whose_names_begin_alike() -> None:
    """The longer name of a plugin counts; a plugin that nobody knows has one word."""
    plugins = ["radio", "radio-bus"]
    paths = {
        "BERTY_PLUGINS_RADIO_BUS_SPEED": ("plugins", "radio-bus", "speed"),
        "BERTY_PLUGINS_RADIO_SPEED": ("plugins", "radio", "speed"),
        "BERTY_PLUGINS_RADIO_BUS": ("plugins", "radio", "bus"),
        "BERTY_PLUGINS_OTHER_LONG_KEY": ("plugins", "other", "long_key"),
    }
    for name, path in paths.items():
        assert read_environment({name: "1"}, plugins, []).value(path) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("BERTY_NOED_PROFILE", "there is no such variable, did you mean BERTY_NODE_PROFILE?"),
        ("BERTY_PROFILE", "did you mean BERTY_NODE_PROFILE?"),
        ("BERTY_HOMES", "did you mean BERTY_HOME?"),
        ("BERTY_PLUGIN_MDNS_PORT", "did you mean BERTY_PLUGINS_MDNS_PORT?"),
        ("BERTY_NODE", "there is no such variable"),
        ("BERTY_SOMETHING_OF_A_SCRIPT", ""),
        ("BERTY_HOME", ""),
        ("BERTY_PASSPHRASE_FILE", ""),
        ("BERTY_DEBUG", ""),
        ("OTHER_NODE_PROFILE", ""),
    ],
)
def test_variables_that_look_like_settings(tmp_path: Path, name: str, words: str) -> None:
    """They are told of, and stop nothing; those of others are left alone."""
    found = examine(tmp_path, (), {name: "x"})
    assert found.config == NodeConfig()
    assert len(found.faults) == bool(words)
    assert all(words in str(fault) for fault in found.faults)


def test_values_without_quotes(tmp_path: Path) -> None:
    """Where somebody types, a text may look like a number, and a list may have commas."""
    config = read_config(tmp_path, ["node.disabled=x"], {"BERTY_NODE_PROFILE": "wesh", "BERTY_NODE_KEYRING": "false"})
    assert (config.disabled, config.profile, config.keyring) == (("x",), "wesh", False)
    with pytest.raises(ConfigError, match="true or false is needed, not 'no'"):
        read_config(tmp_path, (), {"BERTY_NODE_KEYRING": "no"})


@pytest.mark.parametrize("key", ["password", "api_token", "psk"])
def test_secrets_are_refused(tmp_path: Path, key: str) -> None:
    """Whoever looks for a place for one is told that it is not here."""
    with pytest.raises(ConfigError, match="secrets are never in the configuration"):
        read_config(written(tmp_path, f"[node]\n{key} = 'x'"), environment={})


def test_the_exit_code() -> None:
    """That of a bad configuration in sysexits.h."""
    assert EXIT_CONFIG == os.EX_CONFIG
