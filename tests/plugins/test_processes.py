"""Real commands beside plugins that are broken in real distributions: everything is told, and the node runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from berty_core.config import NodeConfig
from berty_core.runtime.node import create_home

from .made import SOUND, install

PATIENCE = 30.0
BROKEN = {
    "raises": ("raise OSError('no such device')", "importing it raised OSError: no such device"),
    "exits": ("import sys; sys.exit(7)", "importing it called sys.exit(7)"),
    "misspelt": (SOUND.replace("berty_transports", "berty_transport"), "did you mean berty_transports?"),
    "newer": (SOUND + "\nAPI = (99, 0)", "it was made for version 99.0 of the plugin contract"),
    "mdns": (SOUND, "another plugin has the name mdns already; this one is of made-mdns"),
    "careless": (SOUND.replace("return [Spec()]", "return Spec()"), "a list is needed"),
    "absent": (
        SOUND.replace("Probe(True)", "Probe(False, 'no radio is there', 'berty config edit')"),
        "no radio is there",
    ),
    "busy": (SOUND.replace("return object()", "raise OSError('the port is taken')"), "making busy raised OSError"),
    "noisy": (
        "from berty_core.contracts.checks import Check\n"
        + SOUND
        + "@hookimpl\ndef berty_checks():\n    return [Check('look', lambda host: 1 / 0)]\n",
        "the check raised ZeroDivisionError",
    ),
}


@attrs.frozen
class Device:
    """A home, and the commands of its user beside the broken plugins."""

    home: Path
    path: Path

    def command(self, *words: str) -> dict[str, Any]:
        """The arguments of a process."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BERTY_")}
        environment |= {
            "PYTHONPATH": os.pathsep.join([str(self.path), *filter(None, sys.path)]),
            "XDG_RUNTIME_DIR": str(self.home),
        }
        return {"args": [sys.executable, "-m", "berty_core", "--home", str(self.home), *words], "env": environment}

    def berty(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(**self.command(*words), capture_output=True, text=True, timeout=PATIENCE, check=False)

    def data(self, *words: str) -> Any:
        """The JSON of a command."""
        done = self.berty(*words, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    """A device on which every kind of broken plugin is installed."""
    path, home = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("homes") / "ann"
    for name, (code, _) in BROKEN.items():
        install(path, name, code, distribution=f"made-{name}")
    install(path, "sound", SOUND)
    create_home(home, "Ann", config=NodeConfig(keyring=False))
    (home / "berty.toml").write_text(
        "[plugins.mdns]\nloopback = true\n[node]\nkeyring = false\ndisabled = ['libp2p', 'udp', 'unix']\n"
    )
    return Device(home, path)


@pytest.fixture(scope="module")
def running(device: Device) -> Iterator[subprocess.Popen[bytes]]:
    """Its node, which takes part."""
    process = subprocess.Popen(**device.command("run"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        until((device.home / "socket").exists)
        yield process
    finally:
        process.kill()
        process.communicate()


def until(condition: Callable[[], object]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_list(device: Device) -> None:
    """Each is there with its state and reason, and what is sound is used."""
    views = {(view["name"], view["distribution"]): view for view in device.data("plugin", "list")}
    for name, (_, words) in BROKEN.items():
        view = views[(name, f"made-{name}")]
        if name in ("busy", "noisy"):  # what is wrong with these is seen when they are used
            assert view["state"] == "used"
        else:
            assert view["state"] == ("unusable" if name == "absent" else "broken")
            assert words in view["reason"]
            assert view["remedy"]
    assert views[("mdns", "berty-mdns")]["state"] == "used"
    assert views[("mdns", "berty-mdns")]["reason"] == ""
    assert views[("sound", "berty-sound")]["state"] == "used"


def test_the_node_runs_on(device: Device, running: subprocess.Popen[bytes]) -> None:
    """Its status names every plugin that is left out, and the LAN transport is active."""
    until(lambda: device.data("status")["transports"])
    view = device.data("status")
    left_out = {left["name"]: left["reason"] for left in view["plugins_not_used"]}
    for name in set(BROKEN) - {"noisy", "busy"}:
        assert BROKEN[name][1] in left_out[name]
    until(lambda: any("making busy raised OSError" in reason for reason in _transport(device, "busy")["reasons"]))
    until(lambda: {"name": "mdns", "state": "active"}.items() <= _transport(device, "mdns").items())
    assert running.poll() is None


def _transport(device: Device, name: str) -> dict[str, Any]:
    return next(view for view in device.data("status")["transports"] if view["name"] == name)


def test_the_doctor(device: Device) -> None:
    """Every reason is a finding with something to do; a check that fails is one too."""
    done = device.berty("doctor", "--json")
    assert done.returncode == 1
    findings = json.loads(done.stdout)["findings"]
    told = " ".join(finding["what"] for finding in findings)
    for name, (_, words) in BROKEN.items():
        assert name == "busy" or words in told
    assert any(finding["check"] == "noisy look" and finding["level"] == "problem" for finding in findings)
    assert all(finding["command"] for finding in findings if finding["level"] == "problem")


def test_one_is_switched_off(device: Device) -> None:
    """As its remedy says; then it is not imported, and nobody speaks of it."""
    assert device.berty("plugin", "disable", "raises").returncode == 0
    views = {view["name"]: view for view in device.data("plugin", "list")}
    assert (views["raises"]["state"], views["raises"]["reason"]) == ("disabled", "")
    assert device.berty("plugin", "enable", "raises").returncode == 0


def test_one_for_an_old_core(tmp_path: Path, device: Device) -> None:
    """It is told from the metadata, without a byte of it being run."""
    install(tmp_path, "old", "import os; os._exit(9)", requires="berty-core<0.1")
    (view,) = [view for view in Device(device.home, tmp_path).data("plugin", "list") if view["name"] == "old"]
    assert view["state"] == "broken"
    assert "it wants berty-core <0.1, and this is 0.1.0" in view["reason"]
