"""The kit in a stranger's repository: pytest with the plugin, a package of their own, nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from berty_core.testing.transport_suite import TransportSuite

PACKAGE = """
from contextlib import asynccontextmanager

from berty_core.testing.memory_transport import MemoryConfig, MemoryNetwork, MemorySpec, MemoryTransport
from berty_core.testing.transport_suite import TransportSuite


class Deaf(MemoryTransport):
    async def dial(self, endpoint):
        link = await super().dial(endpoint)
        if BROKEN:
            link.initiator = False
        return link


BROKEN = False


class MineSuite(TransportSuite):
    spec = MemorySpec(MemoryNetwork())
    title = "mine"
    level = "emulated"

    def __init__(self):
        self.network = MemoryNetwork()

    @asynccontextmanager
    async def open_pair(self):
        yield 1, 2

    def create(self, config):
        return Deaf(self.network)
"""
TEST = """
from package import MineSuite
import package

package.BROKEN = {broken}


class TestMine(MineSuite):
    def test_of_their_own(self):
        assert True


def test_other(tmp_path):
    assert tmp_path.exists()
"""


def run_pytest(directory: Path, *arguments: str, broken: bool = False) -> subprocess.CompletedProcess[str]:
    """Run pytest in a directory with a package and a test."""
    (directory / "package.py").write_text(PACKAGE)
    (directory / "test_mine.py").write_text(TEST.format(broken=broken))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(directory), *filter(None, sys.path)])}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("processes", [(), ("-n", "2"), ("-n", "2", "--dist", "loadfile")], ids=" ".join)
def test_a_sound_one(tmp_path: Path, processes: tuple[str, ...]) -> None:
    """It passes on both backends; the line and the report say so, however many processes share the rules."""
    run = run_pytest(tmp_path, "-W", "error", "--conformance-report", "report.json", *processes)
    assert run.returncode == 0, run.stdout
    assert "conformance: mine 58 rules passed, 28 skipped (no bus," in run.stdout
    assert "on asyncio, emulated" in run.stdout
    assert "on trio, emulated" in run.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert sorted((each["title"], each["backend"], each["level"]) for each in report["reports"]) == [
        ("mine", "asyncio", "emulated"),
        ("mine", "trio", "emulated"),
    ]
    for each in report["reports"]:
        assert each["broken"] == 0 and each["first_broken"] is None
        assert (each["passed"], each["skipped"]) == (58, 28)
        assert [rule["rule"] for rule in each["rules"]] == [rule.number for rule in TransportSuite.rules()]


def test_a_broken_one_in_several_processes(tmp_path: Path) -> None:
    """The line names the first broken rule of all of them."""
    run = run_pytest(tmp_path, "-n", "2", "--dist", "loadfile", "-k", "asyncio and initiator", broken=True)
    assert run.returncode == 1
    assert "conformance: mine 0 rules passed, 1 broken, first rule 71, on asyncio, emulated" in run.stdout


def test_a_broken_one(tmp_path: Path) -> None:
    """The first broken rule is named in words, and what rests on it is not run, in whatever order pytest is told."""
    run = run_pytest(tmp_path, "-k", "asyncio and (initiator or lost_at_stop)", broken=True)
    assert run.returncode == 1
    assert "rule 71 of the transport contract is broken: Of the two ends exactly one is the initiator" in run.stdout
    assert "not run: needs rule 71" in run.stdout
    assert "1 broken, first rule 71, 1 not run" in run.stdout
    nodes = [f"test_mine.py::TestMine::test_dial_{name}[asyncio]" for name in ("links_lost_at_stop", "one_initiator")]
    turned = run_pytest(tmp_path, *nodes, broken=True)
    assert "not run: needs rule 71" in turned.stdout


def test_tests_of_others_are_left_alone(tmp_path: Path) -> None:
    """Where there is no suite nothing of the kit is imported, and nothing is printed."""
    code = "import sys\n\ndef test_it():\n    assert 'berty_core.testing.rules' not in sys.modules\n"
    (tmp_path / "test_it.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-W", "error"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert "conformance" not in run.stdout


def test_the_extra_suffices() -> None:
    """The kit needs pytest for its plugin, and nothing else beside what the core needs."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['hypothesis', 'trio', 'pytest']));"
        "import berty_core.testing.transport_suite, berty_core.testing.plugin_suite, berty_core.testing.store_suite"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
