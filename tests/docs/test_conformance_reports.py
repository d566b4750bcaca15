"""The README's table of transports is what the conformance reports say, and they are reports of the rules of today."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from berty_core.testing.rules import Suite

ROOT = Path(__file__).parent.parent.parent
SUITES = sorted(importlib.metadata.entry_points(group="berty.conformance"), key=lambda point: point.name)
OURS = [point for point in SUITES if (ROOT / "plugins" / f"berty-{point.name}").exists()]


def generator() -> Any:
    """The script."""
    spec = importlib.util.spec_from_file_location("generate_readme_table", ROOT / "tests" / "generate_readme_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_is_up_to_date() -> None:
    """What stands in the README is what the script writes."""
    text = (ROOT / "README.md").read_text()
    assert generator().page(text) == text


@pytest.mark.parametrize("point", OURS, ids=lambda point: point.name)
def test_report_is_of_these_rules(point: importlib.metadata.EntryPoint) -> None:
    """Each suite has a report on each backend, with the rules of the kit and the level of the suite; none is broken."""
    suite: type[Suite] = point.load()
    reports = generator().read()[point.name]
    assert [report["backend"] for report in reports] == list(suite.backends())
    for report in reports:
        assert {rule["rule"]: rule["words"] for rule in report["rules"]} == {r.number: r.words for r in suite.rules()}
        assert report["level"] == suite.level
        assert report["broken"] == report["not_run"] == 0


def test_every_report_has_a_suite() -> None:
    """No report is kept of what is gone."""
    assert OURS
    assert set(generator().read()) == {point.name for point in OURS}
