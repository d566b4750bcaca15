"""Labs, and what their devices logged in the report of a test that fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .lab import Bridge, Lab, reason_to_skip


@pytest.fixture(params=["loopback", pytest.param("bridge", marks=pytest.mark.netns)])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A lab of each kind."""
    yield from make(request.param, tmp_path)


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[Lab]:
    """A lab on the loopback interface."""
    yield from make("loopback", tmp_path)


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    """A lab on a bridge."""
    yield from make("bridge", tmp_path)  # type: ignore[misc]


def make(kind: str, directory: Path) -> Iterator[Lab]:
    """Build a lab, and take it down again; skip, with the reason, what is not permitted here."""
    if kind == "bridge" and (reason := reason_to_skip()):
        pytest.skip(reason)
    made = Bridge(directory) if kind == "bridge" else Lab(directory)
    try:
        yield made
    finally:
        made.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add the logs of all devices to a report of failure."""
    report = yield
    if report.failed and report.when == "call":
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Lab):
                report.sections.append(("Logs of the devices", value.log()))
    return report
