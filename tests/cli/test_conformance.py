"""`berty conformance`: a report in words and as JSON, and an exit code."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import pytest

from berty_core.cli.main import run
from berty_core.testing.command import conformance
from berty_core.testing.memory_transport import MemoryNetwork, MemorySpec, MemoryTransport
from berty_core.testing.transport_suite import TransportSuite


class Radio(TransportSuite):
    """Asks for a device."""

    spec = MemorySpec(MemoryNetwork())

    def __init__(self) -> None:
        self.network = MemoryNetwork()

    @asynccontextmanager
    async def open_pair(self) -> AsyncIterator[tuple[Any, ...]]:
        """The two devices that were named."""
        yield self.options["device"], self.options["peer"]

    def create(self, config: Any) -> Any:
        """Make one; a device named `deaf` accepts nothing."""
        made = MemoryTransport(self.network)
        if config == "deaf":
            made.advertise = _nothing  # type: ignore[method-assign,assignment]
        return made


async def _nothing(beacon: object) -> None:
    """Show nothing."""


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One plugin declares a suite."""
    point = importlib.metadata.EntryPoint("radio", f"{__name__}:Radio", "berty.conformance")
    monkeypatch.setattr(importlib.metadata.EntryPoint, "load", lambda self: Radio)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group, name="radio": (point,) * (name == "radio"))


def test_a_sound_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Each rule in words, a line for each event loop, the report with the level that was given, and exit code 0."""
    report = tmp_path / "report.json"
    arguments = ["-o", "device=/dev/one", "--peer", "/dev/two", "--level", "independent software"]
    assert run(["conformance", "radio", *arguments, "--report", str(report)]) == 0
    text = capsys.readouterr().out
    assert "  21 passed   Cancelled, `run` ends within 5 s" in text
    assert "(no bus)" in text
    assert "on trio, independent software" in text
    assert {each["level"] for each in json.loads(report.read_text())["reports"]} == {"independent software"}


def test_a_broken_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken rule with what happened, what is not run because of it, and exit code 1."""
    monkeypatch.setattr(Radio, "patience", 0.05)
    assert run(["conformance", "radio", "-o", "device=a", "--peer", "deaf"]) == 1
    text = capsys.readouterr().out
    assert "  40 BROKEN   A device that shows a beacon is found by others" in text
    assert "the other device was not found" in text
    assert "not run  An endpoint is reported once" in text
    assert "first rule 40" in text


def test_names(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a name the suites that are there; an unknown one, and an option without a value, in words."""
    assert run(["conformance"]) == 0
    assert capsys.readouterr().out == "radio\n"
    assert run(["conformance", "nothing"]) == 1
    assert "no installed plugin declares a suite named 'nothing' (there are: radio)" in capsys.readouterr().err
    assert run(["conformance", "radio", "-o", "device"]) == 1
    assert "write it as KEY=VALUE" in capsys.readouterr().err


def test_completion() -> None:
    """Names of suites that begin like what was typed."""
    argument = conformance.params[0]
    context = click.Context(conformance)
    assert [item.value for item in argument.shell_complete(context, "ra")] == ["radio"]
    assert not argument.shell_complete(context, "x")
