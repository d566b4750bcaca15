"""Corrupting recordings: one value of every section that a check reads, several sections to a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from berty_core.testing.vectors.checker import CHECKS
from berty_core.testing.vectors.known import Known
from berty_core.testing.vectors.recording import Path, general, show_path
from berty_core.testing.vectors.report import Report
from berty_core.testing.vectors.source import Source

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def run(source: Source, known: Known) -> Report:
    """Check one file with what is known."""
    report = Report()
    place = report.start(source.name, source.root)
    CHECKS[source.format](report, known, place)
    return report


def read_leaves(source: Source, known: Known) -> dict[tuple[str, ...], list[Path]]:
    """The places of plain values that the checks read, by their section."""
    report = Report()
    place = report.start(source.name, source.root)
    CHECKS[source.format](report, known, place)
    sections: dict[tuple[str, ...], list[Path]] = {}
    for path in sorted(place.read_paths, key=repr):
        for leaf in _leaves(value_at(source.root, path), path):
            sections.setdefault(general(leaf), []).append(leaf)
    return sections


def _leaves(value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, dict):
        for key in value:
            yield from _leaves(value[key], (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    elif isinstance(value, str | int | float | bool):
        yield path


def value_at(root: Any, path: Path) -> Any:
    """The value at a place."""
    for part in path:
        root = root[part]
    return root


def put(root: Any, path: Path, value: Any) -> None:
    """Replace the value at a place."""
    value_at(root, path[:-1])[path[-1]] = value


def corrupt(value: Any) -> Any:
    """Another value of the same type: one bit, digit or letter is changed."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value - 1 if value > 0 else value + 1
    if not value:
        return "00"
    position = len(value) * 2 // 3
    old = value[position]
    if re.fullmatch(r"[0-9a-f]+", value):
        new = format(int(old, 16) ^ 1, "x")
    elif old in _BASE32:
        new = _BASE32[(_BASE32.index(old) + 1) % 32]
    else:
        new = "0" if old != "0" else "1"
    return value[:position] + new + value[position + 1 :]


def item_of(path: Path) -> Path:
    """The recorded thing that a value belongs to: up to the last index, else the first random name."""
    end = len(path) - 1 if isinstance(path[-1], int) else len(path)  # a list of plain values is one thing
    for length in range(end, 0, -1):
        if isinstance(path[length - 1], int):
            return path[:length]
    names = general(path)
    return path[: names.index("*") + 1] if "*" in names else path[: max(1, len(path) - 1)]


def batches(sections: dict[tuple[str, ...], list[Path]], size: int) -> Iterator[list[Path]]:
    """One place of each section, no two of the same item in a batch."""
    waiting = sorted(sections.items(), key=lambda item: len(item[1]))
    while waiting:
        batch: list[Path] = []
        later = []
        for section, places in waiting:
            taken = [item_of(path) for path in batch]
            free = next((path for path in places if _free(item_of(path), taken)), None)
            if free is None or len(batch) == size:
                later.append((section, places))
            else:
                batch.append(free)
        waiting = later
        yield batch


def _free(item: Path, taken: list[Path]) -> bool:
    return not any(item[: len(other)] == other or other[: len(item)] == item for other in taken)


def undetected(source: Source, known: Known, batch: list[Path]) -> tuple[list[Path], Report]:
    """Corrupt the values of a batch, check, put them back; the places near which no difference was reported."""
    before = {path: value_at(source.root, path) for path in batch}
    for path in batch:
        put(source.root, path, corrupt(before[path]))
    report = run(source, known)
    for path in batch:
        put(source.root, path, before[path])
    if len(batch) == 1:
        return ([] if report.differences else batch), report
    found = [difference.place for difference in report.differences]
    return [path for path in batch if not any(near(path, place) for place in found)], report


def near(path: Path, place: str) -> bool:
    """Whether a difference is about the same item."""
    item = show_path(item_of(path))
    return place == item or place.startswith((f"{item}.", f"{item}["))


def sweep(source: Source, known: Known, size: int) -> tuple[list[Path], set[str]]:
    """Corrupt one value of each section: those that no check found, and the kinds of check that failed."""
    missed: list[Path] = []
    failed: set[str] = set()
    for batch in batches(read_leaves(source, known), size):
        far, report = undetected(source, known, batch)
        failed |= set(report.failed)
        for path in far if len(batch) > 1 else []:
            alone, report = undetected(source, known, [path])
            failed |= set(report.failed)
            missed += alone
        missed += far if len(batch) == 1 else []
    return missed, failed
