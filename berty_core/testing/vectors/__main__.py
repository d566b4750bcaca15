"""Check recordings of a Wesh node against this implementation."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .checker import check_paths
from .deviations import DEVIATIONS
from .report import Report

_EXAMPLES = """
\b
Examples:
  python -m berty_core.testing.vectors tests/vectors
  python -m berty_core.testing.vectors keys.json messages.json.gz
  python -m berty_core.testing.vectors --json recording/ | jq .differences
\b
Give all files of one run together: keys of one open what another holds.
\b
Exit code: 0 all equal, 1 something differs, 2 a file cannot be read or its
format is not known (whatever else was found).
"""


@click.command(epilog=_EXAMPLES)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option("--limit", default=50, show_default=True, help="Show at most so many differences.")
def main(paths: Sequence[Path], as_json: bool, limit: int) -> None:
    """Recompute everything that the keys in recordings of a Wesh node allow, and compare.

    PATHS are files (JSON or tar, also compressed with gzip) or directories of them. What a file is, is told by its
    content.
    """
    report = check_paths(paths)
    click.echo(json.dumps(as_object(report), indent=1) if as_json else as_text(report, limit))
    sys.exit(report.code)


def as_object(report: Report) -> dict[str, Any]:
    """The report as plain values."""
    return {
        "checks": dict(sorted(report.counts.items())),
        "differences": [
            {"file": d.file, "place": d.place, "kind": d.kind, "expected": d.expected, "got": d.got}
            for d in report.differences
        ],
        "lacking": [
            {"file": file, "check": what, "times": times} for (file, what), times in sorted(report.lacking.items())
        ],
        "no_check_for": report.unchecked,
        "deviations": dict(sorted(report.deviations.items())),
        "unreadable": dict(report.unreadable),
        "code": report.code,
    }


def as_text(report: Report, limit: int) -> str:
    """The report for people."""
    lines = _counts(report)
    for file, sections in report.unchecked.items():
        if sections:
            lines += ["", f"No check for these sections of {file}:", *(f"  {section}" for section in sections)]
    if report.lacking:
        lines += ["", "Left out, because something is missing:"]
        lines += [f"  {times:6}  {file}: {what}" for (file, what), times in sorted(report.lacking.items())]
    if report.deviations:
        lines += ["", "Known deviations from Go that were met (our verdict was expected and found):"]
        reasons = {deviation.name: deviation.reason for deviation in DEVIATIONS}
        lines += [f"  {times:6}  {name}: {reasons[name]}" for name, times in sorted(report.deviations.items())]
    lines += _differences(report, limit)
    lines += [line for file, reason in report.unreadable for line in ("", f"Cannot read {file}: {reason}")]
    return "\n".join([*lines, "", _verdict(report)])


def _counts(report: Report) -> list[str]:
    width = max((len(kind) for kind in report.counts), default=0)
    lines = [f"{'check':{width}}  {'count':>7}  differs"]
    for kind, count in sorted(report.counts.items()):
        lines.append(f"{kind:{width}}  {count:7}  {report.failed[kind] or ''}".rstrip())
    return lines


def _differences(report: Report, limit: int) -> list[str]:
    lines: list[str] = []
    for difference in report.differences[:limit]:
        lines += ["", f"{difference.file}: {difference.place}", f"  {difference.kind}"]
        if difference.expected:
            lines.append(f"    expected {difference.expected}")
        lines.append(f"    got      {difference.got}")
    hidden = len(report.differences) - limit
    return [*lines, "", f"… and {hidden} more differences"] if hidden > 0 else lines


def _verdict(report: Report) -> str:
    total = sum(report.counts.values())
    found = f"{len(report.differences)} differences" if report.differences else "no difference"
    return f"{total} checks of {len(report.counts)} kinds: {found}"


if __name__ == "__main__":
    main()
