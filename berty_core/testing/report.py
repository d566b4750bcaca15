"""What a run of a suite found: as a line, as a text for a person, and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import attrs

PASSED, BROKEN, SKIPPED, NOT_RUN = "passed", "broken", "skipped", "not run"
FORMAT = 1  # of the JSON


@attrs.frozen
class Result:
    """What became of one rule; `reason` says why it was not passed."""

    rule: int
    words: str
    status: str
    reason: str = ""


@attrs.frozen(kw_only=True)
class Report:
    """What became of the rules of one suite on one backend."""

    title: str
    contract: str
    level: str
    backend: str
    traits: dict[str, Any]
    results: tuple[Result, ...]

    @property
    def first_broken(self) -> Result | None:
        """The broken rule with the smallest number: what to look at first."""
        return next((result for result in self.results if result.status == BROKEN), None)

    @property
    def is_green(self) -> bool:
        """Whether something was checked and nothing is broken."""
        return self.count(BROKEN) == 0 and self.count(PASSED) > 0

    def count(self, status: str) -> int:
        """How many rules have this status."""
        return sum(result.status == status for result in self.results)

    def joined(self, other: Report) -> Report:
        """This one with the results of another on other rules of the same suite."""
        known = {result.rule: result for result in (*self.results, *other.results)}
        return attrs.evolve(self, results=tuple(known[rule] for rule in sorted(known)))

    def line(self) -> str:
        """One line: what was checked, what was skipped and why, what is broken, and where it ran."""
        parts = [f"{self.count(PASSED)} rules passed"]
        if broken := self.first_broken:
            parts.append(f"{self.count(BROKEN)} broken, first rule {broken.rule}")
        if self.count(NOT_RUN):
            parts.append(f"{self.count(NOT_RUN)} not run")
        if self.count(SKIPPED):
            parts.append(f"{self.count(SKIPPED)} skipped ({', '.join(self.absences())})")
        where = f", on {self.backend}" if self.backend else ""
        return f"conformance: {self.title} {', '.join(parts)}{where}, {self.level}"

    def absences(self) -> list[str]:
        """The reasons for which rules were skipped, the most frequent first."""
        return [reason for reason, _ in Counter(r.reason for r in self.results if r.status == SKIPPED).most_common()]

    def text(self) -> str:
        """Every rule that was not passed, in words, and the line."""
        blocks = []
        for result in self.results:
            if result.status == BROKEN:
                blocks.append(result.reason)
            elif result.status == NOT_RUN:
                blocks.append(f"rule {result.rule} {result.reason}: {result.words}")
        return "\n\n".join([*blocks, self.line()])

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        first = self.first_broken
        return {
            "title": self.title,
            "contract": self.contract,
            "level": self.level,
            "backend": self.backend,
            "traits": {name: _plain(value) for name, value in self.traits.items()},
            "passed": self.count(PASSED),
            "broken": self.count(BROKEN),
            "skipped": self.count(SKIPPED),
            "not_run": self.count(NOT_RUN),
            "first_broken": None if first is None else first.rule,
            "rules": [attrs.asdict(result) for result in self.results],
        }


def read_report(text: str) -> Report:
    """A report from its JSON text."""
    said = json.loads(text)
    results = tuple(Result(**each) for each in said["rules"])
    names = ("title", "contract", "level", "backend", "traits")
    return Report(**{name: said[name] for name in names}, results=results)


def write_json(reports: Sequence[Report]) -> str:
    """All reports of a run as a JSON text."""
    return json.dumps({"format": FORMAT, "reports": [report.as_json() for report in reports]}, indent=2) + "\n"


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else value
