"""The pytest plugin: collects the rules of a suite as tests, in an order in which each comes after those it rests on.

Where several processes share the tests (pytest-xdist), each tells the first one what it found.
Invariant: where no suite is collected nothing is imported, changed or printed.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conformance import Run
    from .report import Report
    from .rules import Rule, Suite


class Runs:
    """What became of each suite on each backend in this session."""

    def __init__(self) -> None:
        self.by_suite: dict[tuple[type[Suite], str], Run] = {}
        self._heard: dict[tuple[str, str], Report] = {}

    def of(self, suite: type[Suite], backend: str) -> Run:
        """The run of a suite on a backend."""
        from .conformance import Run  # noqa: PLC0415  only where there is a suite

        return self.by_suite.setdefault((suite, backend), Run(suite, backend))

    def told(self) -> list[tuple[str, str]]:
        """What this process found, for another one: names of suites' classes, and reports as JSON."""
        runs = self.by_suite.values()
        return [
            (f"{run.suite.__module__}.{run.suite.__qualname__}", json.dumps(run.report().as_json())) for run in runs
        ]

    def hear(self, told: list[tuple[str, str]]) -> None:
        """Take in what another process found; several may have checked rules of one suite."""
        from .report import read_report  # noqa: PLC0415  only where there is a suite

        for name, text in told:
            report = read_report(text)
            known = self._heard.setdefault((name, report.backend), report)
            self._heard[name, report.backend] = known.joined(report)

    def reports(self) -> list[Report]:
        """All that is known."""
        return [*(run.report() for run in self.by_suite.values()), *self._heard.values()]


RUNS = pytest.StashKey[Runs]()
TOLD = "berty_conformance"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the report."""
    parser.getgroup("berty conformance").addoption(
        "--conformance-report",
        metavar="FILE",
        help="write what became of each rule of each conformance suite as JSON",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin with no results."""
    config.stash[RUNS] = Runs()


def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> Any:
    """Collect a suite as its rules."""
    if isinstance(obj, type) and getattr(obj, "conformance_suite", False) and collector.classnamefilter(name):
        return SuiteNode.from_parent(collector, name=name, obj=obj)
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the rules of each suite, at the places that they have, in the order of their numbers."""
    places: dict[tuple[type, str], list[int]] = {}
    for place, item in enumerate(items):
        if isinstance(item, RuleItem):
            places.setdefault((item.suite, item.backend), []).append(place)
    for own in places.values():
        ordered = sorted((items[place] for place in own), key=lambda item: item.rule.number)  # type: ignore[attr-defined]
        for place, item in zip(own, ordered, strict=True):
            items[place] = item


class SuiteNode(pytest.Class):
    """A suite."""

    def collect(self) -> Iterator[RuleItem]:
        """Its rules, on each backend that is declared."""
        suite: type[Suite] = self.obj
        for backend in suite.backends():
            for rule in suite.rules():
                shown = f"[{backend}]" if backend else ""
                name = f"{rule.check}{shown}"
                yield RuleItem.from_parent(self, name=name, suite=suite, rule=rule, backend=backend)
        if suite.__init__ is object.__init__:  # pytest collects tests of other classes only
            yield from self._others(suite)

    def _others(self, suite: type[Suite]) -> Iterator[Any]:
        """Tests of the author's own that stand in the class."""
        for node in super().collect():
            name = getattr(node, "originalname", None) or node.name
            if not hasattr(getattr(suite, name, None), "rule"):
                yield node


class RuleItem(pytest.Item):
    """One rule on one backend."""

    def __init__(self, *, suite: type[Suite], rule: Rule, backend: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.suite = suite
        self.rule = rule
        self.backend = backend
        self.keywords[f"rule{rule.number}"] = True

    def runtest(self) -> None:
        """Check the rule, unless one that it rests on is broken."""
        run = self.config.stash[RUNS].of(self.suite, self.backend)
        error = run.judge(self.rule)
        if error is not None:
            raise error
        result = run.results[self.rule.number]
        if result.reason:
            pytest.skip(result.reason)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The rule in words, and where in the code under test it was broken."""
        from .rules import RuleBroken  # noqa: PLC0415  only where there is a suite

        error = excinfo.value
        if not isinstance(error, RuleBroken) or error.__cause__ is None:
            return super().repr_failure(excinfo)
        cause = pytest.ExceptionInfo.from_exception(error.__cause__)
        return f"{error}\n\n{cause.getrepr(style='short', chain=True)}"

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The author's class, since that is what is checked."""
        try:
            line: int | None = inspect.getsourcelines(self.suite)[1] - 1
        except (OSError, TypeError):
            line = None
        return self.path, line, f"{self.suite.__name__} rule {self.rule.number} {self.name}"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print one line for each suite and backend."""
    reports = config.stash[RUNS].reports()
    if not reports:
        return
    terminalreporter.section("conformance")
    for report in reports:
        terminalreporter.write_line(report.line())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Another process of this session has ended."""
    node.config.stash[RUNS].hear(getattr(node, "workeroutput", {}).get(TOLD, []))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report, if somebody wants it, or tell the process that will."""
    file = session.config.getoption("conformance_report")
    runs = session.config.stash[RUNS]
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[TOLD] = runs.told()
        return
    reports = runs.reports()
    if not file or not reports:
        return
    from .report import write_json  # noqa: PLC0415  only where it is asked for

    Path(file).write_text(write_json(reports))
