"""Plugins that go wrong in every way: each is named with what to do, and a sound one beside it is used."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from berty_core import loading
from berty_core.calling import PluginFault
from berty_core.config import NodeConfig
from berty_core.fitting import Fitted, fit
from berty_core.loading import LeftOut
from berty_core.plugins import KNOWN, load_plugins
from berty_core.settings.layers import read_text

from .made import SOUND, found, install

ROOT = Path(__file__).parent.parent.parent
BRINGS = "from berty_core.contracts.hookspecs import hookimpl\n@hookimpl\ndef berty_"
SECRET = "from berty_core.crypto.keys import Secret\n" + SOUND.replace("    speed: int", "    key: Secret")
CONFIG, NO_DEFAULT = "config = Config", SOUND.replace("default=9600, ", "")


def fitted(directory: Path, patience: float = 5.0, config: NodeConfig | None = None) -> Fitted:
    """What the core makes of the plugins in a directory."""
    with found(directory) as points:
        return fit(config or NodeConfig(), load_plugins(found=points, patience=patience))


def only_fault(directory: Path, code: str, *, requires: str = "", name: str = "bad") -> LeftOut:
    """Install a plugin beside a sound one; why it is left out."""
    install(directory, "sound", SOUND)
    install(directory, name, code, requires=requires)
    result = fitted(directory)
    assert [spec.name for spec, _ in result.transports] == ["sound"]
    (left,) = result.left_out
    assert left.name == name
    assert left.remedy
    return left


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise OSError('no such device')", "importing it raised OSError: no such device"),
        (
            "import nothing_of_this_name",
            "importing it raised ModuleNotFoundError: No module named 'nothing_of_this_name'",
        ),
        ("def f(:", "importing it raised SyntaxError"),
        ("import sys; sys.exit(3)", "importing it called sys.exit(3)"),
        ("exit()", "importing it called sys.exit()"),
        ("raise KeyboardInterrupt", "importing it raised KeyboardInterrupt"),
        ("", "it has no hooks; hooks are berty_"),
        (
            SOUND.replace("berty_transports", "berty_transport"),
            "berty_transport is unknown, did you mean berty_transports?",
        ),
        (SOUND.replace("@hookimpl\n", ""), "its berty_transports is not marked with @hookimpl"),
        (SOUND.replace("def berty_transports()", "def berty_transports(radio)"), "radio"),
        (SOUND.replace("def berty_transports", "async def berty_transports"), "its hook berty_transports is `async`"),
        (SOUND + "\nCORE = '>=99'", "it wants berty-core >=99, and this is"),
        (SOUND + "\nCORE = '~about 1'", "cannot be read"),
        (SOUND + "\nAPI = (2, 0)", "version 2.0 of the plugin contract, and this core has 1.0"),
        (SOUND + "\nAPI = (1, 1)", "version 1.1 of the plugin contract, and this core has 1.0"),
        (SOUND + "\nAPI = (0, 9)", "version 0.9 of the plugin contract, which this core (1.0) has left"),
        (SOUND + "\nAPI = 'new'", "its API is 'new'"),
        (SOUND.replace("(1, 0), frozenset()", "(2, 0), frozenset()"), "version 2.0 of the plugin contract"),
    ],
)
def test_what_is_wrong_with_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str) -> None:
    """Whatever a module does, or says of itself, costs this plugin only."""
    monkeypatch.setattr(loading, "API", (1, 0))
    assert words in only_fault(tmp_path, code).reason


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (BRINGS + "transports(): raise OSError('gone')", "its hook berty_transports raised OSError: gone"),
        (BRINGS + "transports(): return None", "returned None, and a list is needed"),
        (BRINGS + "transports(): return 'radio'", "returned 'radio', and a list is needed"),
        (BRINGS + "transports(): yield 1 / 0", "raised ZeroDivisionError"),
        (BRINGS + "transports(): return [7]", "its transport int has no `name`"),
        (BRINGS + "checks(): return [7]", "its check is 7, and a Check is needed"),
        (BRINGS + "stores(): return [type('S', (), {'name': 'x'})]", "its store x has no `open`"),
        (SOUND.replace("frozenset() #", "frozenset(); name = 'Bad Name'"), "is 'Bad Name'"),
        (SOUND.replace("frozenset() #", "frozenset(); name = 'sound'"), "is taken by the plugin sound"),
        (SOUND.replace("api, platforms", "other, another"), "its transport bad has no `api`"),
        (SOUND.replace("frozenset()", "()"), "`platforms` of its transport bad is of the type tuple"),
        (SOUND.replace("[Spec()]", "[Spec()] * 2"), "is taken by the plugin bad"),
        (SOUND.replace("    traits = Traits(stream=True)\n", ""), "its transport bad has no `traits`"),
        (SOUND.replace("Traits(stream=True)\n", "None\n"), "`traits` of its transport bad is None"),
        (SOUND.replace(CONFIG, "config = dict"), "`config` of its transport bad is of the type type"),
        (SOUND.replace(CONFIG, "config = property(lambda self: 1 / 0)"), "`config` of its transport bad raised Zero"),
        (NO_DEFAULT, "the settings of its transport bad cannot be made without values"),
        (SOUND.replace("'simulated: nothing',".replace("'", '"'), ""), ""),
        (SECRET, "its setting key is a secret"),
        (SOUND.replace("return Probe(True)", "raise OSError('no')"), "the probe of bad raised OSError: no"),
        (SOUND.replace("return Probe(True)", "return True"), "the probe of bad returned bool, and a Probe is needed"),
        (SOUND.replace("return Probe(True)", "return Probe(False, 'no radio', 'plug it in')"), "no radio"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_what_it_brings(tmp_path: Path, code: str, words: str) -> None:
    """Malformed objects, hooks that raise, names that are taken, probes that fail."""
    if not words:  # an empty tuple is sound
        install(tmp_path, "bad", code)
        assert fitted(tmp_path).left_out == ()
        return
    assert words in only_fault(tmp_path, code).reason


def test_the_core_is_checked_before_import(tmp_path: Path) -> None:
    """A plugin whose distribution wants another core is not even imported; one that wants this one is."""
    trap = f"open({str(tmp_path / 'imported')!r}, 'w').close()\n"
    left = only_fault(tmp_path, trap + SOUND, requires="berty-core (>=99,<100)")
    assert "it wants berty-core <100,>=99, and this is" in left.reason
    assert "pip install --upgrade berty-bad" in left.remedy
    assert not (tmp_path / "imported").exists()
    install(
        tmp_path, "good", trap + SOUND, requires=f'Berty_Core[testing]=={version("berty-core")}; python_version>"3"'
    )
    assert [spec.name for spec, _ in fitted(tmp_path).transports] == ["good", "sound"]
    assert (tmp_path / "imported").exists()


def test_one_that_hangs(tmp_path: Path) -> None:
    """It is left behind after its time, the start goes on, and the process can end."""
    install(tmp_path, "hangs", "import threading; threading.Event().wait()")
    install(tmp_path, "sound", SOUND)
    program = (
        "from importlib.metadata import entry_points; from berty_core.plugins import load_plugins\n"
        "points = [p for p in entry_points(group='berty.plugins') if p.name in ('hangs', 'sound')]\n"
        "plugins = load_plugins(found=points, patience=0.3); print(plugins.names(), plugins.broken[0].reason)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        env={"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "['sound'] importing it did not end within 0.3 s\n"
    assert done.returncode == 0, done.stderr


def test_a_hook_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook and a probe have a time of their own."""
    monkeypatch.setattr("berty_core.specs.CALL_TIME", 0.2)
    monkeypatch.setattr("berty_core.fitting.CALL_TIME", 0.2)
    wait = "__import__('threading').Event().wait()"
    assert "did not end within" in only_fault(tmp_path, SOUND.replace("return [Spec()]", wait)).reason
    install(tmp_path, "probing", SOUND.replace("return Probe(True)", wait))
    assert "the probe of probing did not end" in fitted(tmp_path).left_out[1].reason


def test_two_of_one_name(tmp_path: Path) -> None:
    """The distribution that is called like the plugin is used, whatever the other one is called; both are told of."""
    install(tmp_path, "radio", SOUND.replace("9600", "1"), distribution="aaa-first")
    install(tmp_path, "radio", SOUND.replace("9600", "2"))
    result = fitted(tmp_path)
    ((_, settings),) = result.transports
    assert settings.speed == 2
    (left,) = result.left_out
    assert left.reason == "another plugin has the name radio already; this one is of aaa-first"
    assert left.remedy == "`pip uninstall aaa-first`"


def test_a_name_that_is_none(tmp_path: Path) -> None:
    """A plugin's name is that of a table and of a variable."""
    assert "is no name of a plugin" in only_fault(tmp_path, SOUND, name="Ra.dio").reason


def test_damaged_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One damaged file in the environment costs the plugins of its own distribution, and no other."""
    for name in ("sound", "damaged", "listless"):
        install(tmp_path, name, SOUND)
    (tmp_path / "made_berty_damaged-1.2.dist-info" / "METADATA").write_bytes(b"Name: \xff\nRequires-Dist: \xfe")
    (tmp_path / "made_berty_listless-1.2.dist-info" / "entry_points.txt").write_text("[berty.plugins]\nno sign\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = load_plugins().names()
    assert {"sound", "mdns", "sqlite"} <= set(names)
    assert "listless" not in names


def test_a_disabled_one_is_never_imported(tmp_path: Path) -> None:
    """Neither is its table looked at."""
    install(tmp_path, "trap", "import os; os._exit(1)")
    with found(tmp_path) as points:
        config = NodeConfig(disabled=("trap",), plugins={"trap": {"any": 1}})
        result = fit(config, load_plugins(config.disabled, points))
    assert (result.left_out, result.faults) == ((), ())


def test_making_a_transport_fails(tmp_path: Path) -> None:
    """What raises when it is made says so in words, each time; the others are made anew for each start."""
    install(tmp_path, "bad", SOUND.replace("return object()", "raise OSError('busy')"))
    install(tmp_path, "none", SOUND.replace("return object()", "return None"))
    install(tmp_path, "sound", SOUND)
    makers = {spec.name: make for spec, make in fitted(tmp_path).make_transports()}
    for name, words in (("bad", "making bad raised OSError: busy"), ("none", "making none gave nothing")):
        for _ in range(2):
            with pytest.raises(PluginFault, match=words):
                makers[name]()
    assert makers["sound"]() is not makers["sound"]()


def test_another_platform(tmp_path: Path) -> None:
    """A transport that names its platforms is not used on others."""
    left = only_fault(tmp_path, SOUND.replace("frozenset()", "frozenset({'beos'})"))
    assert (left.state, left.reason) == ("unusable", f"it runs on beos, and this is {sys.platform}")


def with_file(text: str) -> NodeConfig:
    """A configuration whose plugins' tables are those of a file."""
    layers = read_text("berty.toml", text.encode())
    return NodeConfig(plugins=layers.tables["plugins"], origins=layers.origins)


def test_tables(tmp_path: Path) -> None:
    """A bad table costs its plugin, a table without a plugin says what to install, and the rest is used."""
    for name in ("one", "two"):
        install(tmp_path, name, SOUND)
    config = with_file(
        "[plugins.one]\nspeed = 'x'\nsped = 1\n[plugins.two]\nspeed = 300\n[plugins.mdns]\n[plugins.zzz]\n"
    )
    result = fitted(tmp_path, config=config)
    assert [(spec.name, settings.speed) for spec, settings in result.transports] == [("two", 300)]
    assert sorted(map(str, result.faults)) == [
        "berty.toml:2: [plugins.one] speed: a whole number is needed, not 'x'",
        "berty.toml:3: [plugins.one] sped: there is no such key, did you mean speed?",
        "berty.toml:6: [plugins.mdns] there is no such plugin; installed are one, two; `pip install berty-mdns`",
        "berty.toml:7: [plugins.zzz] there is no such plugin; installed are one, two; "
        "install the plugin that is called zzz, or remove the table: `berty config unset plugins.zzz`",
    ]
    assert [(left.name, left.state) for left in result.left_out] == [
        ("one", "refused"),
        ("mdns", "missing"),
        ("zzz", "missing"),
    ]


@pytest.mark.parametrize(
    ("validator", "words"),
    [
        ("raise ValueError('speed: too fast')", "speed: too fast"),
        ("raise KeyError(1)", "speed: its check failed with KeyError: 1"),
        ("raise ExceptionGroup('many', [ValueError('x')])", "its check failed with ExceptionGroup"),
        ("__import__('sys').exit(4)", "its check failed with SystemExit: 4"),
        ("raise ValueError", "speed: ValueError"),
        ("raise RecursionError", "its check failed with RecursionError"),
    ],
)
def test_validators(tmp_path: Path, validator: str, words: str) -> None:
    """What a plugin's own validator refuses, in its words, or that it failed, with the line of the value."""
    check = f"def check(_, a, value):\n    if value != 9600: {validator}\n@attrs.frozen(kw_only=True)\nclass Config"
    code = SOUND.replace("@attrs.frozen(kw_only=True)\nclass Config", check).replace(
        "9600, ", "9600, validator=check, "
    )
    install(tmp_path, "radio", code)
    (fault,) = fitted(tmp_path, config=with_file("[plugins.radio]\nspeed = 1\n")).faults
    assert str(fault).startswith("berty.toml:2: [plugins.radio] speed: ")
    assert words in str(fault)


def test_two_transports_share_a_table(tmp_path: Path) -> None:
    """Each object of a plugin takes its own keys of the table."""
    code = SOUND + (
        "\n@attrs.frozen(kw_only=True)\nclass Other:\n    power: int = 1\n"
        "class Second(Spec):\n    name, config = NAME + '-bus', Other\n"
        "@hookimpl\ndef berty_transports():\n    return [Spec(), Second()]\n"
    )
    install(tmp_path, "radio", code)
    result = fitted(tmp_path, config=with_file("[plugins.radio]\nspeed = 1\npower = 2\n"))
    assert [str(settings) for _, settings in result.transports] == ["Config(speed=1)", "Other(power=2)"]
    wrong = fitted(tmp_path, config=with_file("[plugins.radio]\npwoer = 2\n"))
    assert [str(fault) for fault in wrong.faults] == [
        "berty.toml:2: [plugins.radio] pwoer: there is no such key, did you mean power?"
    ]


def test_known_plugins() -> None:
    """Whoever names a plugin of this project that is not installed is told the distribution."""
    assert {f"berty-{name}" for name in KNOWN} == {path.name for path in (ROOT / "plugins").glob("berty-*")}
