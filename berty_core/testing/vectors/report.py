"""What a run found: a count for each kind of check, and each difference with its place.

Invariant: a check that cannot be computed counts as a difference, unless what it needs is not in the recording.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs

from ...errors import BertyError
from .recording import Absent, Place, show_path, unread_sections

SHOWN = 200
T = TypeVar("T")
_FAULTS = (BertyError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, struct.error)


@attrs.frozen
class Difference:
    """One value that is not what we compute."""

    file: str
    place: str
    kind: str
    expected: str
    got: str


class Report:
    """Collects the outcome for one file after another; `file` names the one being checked."""

    def __init__(self) -> None:
        self.file = ""
        self.counts: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.differences: list[Difference] = []
        self.lacking: Counter[tuple[str, str]] = Counter()
        self.unchecked: dict[str, list[str]] = {}
        self.deviations: Counter[str] = Counter()
        self.unreadable: list[tuple[str, str]] = []
        self._reads: dict[str, set[tuple[str | int, ...]]] = {}

    def start(self, file: str, root: Any) -> Place:
        """Begin with a file; give back its outermost place."""
        self.file = file
        return Place(root, (), self._reads.setdefault(file, set()))

    def finish(self, root: Any) -> None:
        """End with the file: note what no check has read."""
        self.unchecked[self.file] = unread_sections(root, self._reads[self.file])

    def equal(self, kind: str, place: Place, got: Any) -> None:
        """Compare a recorded value with ours: bytes with hexadecimal, all else as it is. Absent places are skipped."""
        if not place:
            return
        expected = place.take()
        self.counts[kind] += 1
        if place.shortened:
            data = got.encode() if isinstance(got, str) else got if isinstance(got, bytes) else repr(got).encode()
            ours = f"sha256:{hashlib.sha256(data).hexdigest()}:len:{len(data)}"
        else:
            ours = bytes(got).hex() if isinstance(got, bytes) else got
        if ours != expected or type(ours) is not type(expected):
            self.differ(kind, place, expected, ours)

    def true(self, kind: str, place: Place, holds: bool, otherwise: str) -> None:
        """Note a check that has no second value; `otherwise` says what is wrong."""
        self.counts[kind] += 1
        if not holds:
            self.differ(kind, place, "", otherwise)

    def differ(self, kind: str, place: Place, expected: Any, got: Any) -> None:
        """Note a difference."""
        self.failed[kind] += 1
        self.differences.append(Difference(self.file, show_path(place.path), kind, _show(expected), _show(got)))

    @contextmanager
    def attempt(self, kind: str, place: Place) -> Iterator[None]:
        """Run checks of a kind: what breaks them is a difference, what is absent is counted as lacking."""
        try:
            yield
        except Absent as absent:
            self.lack(kind, str(absent))
        except _FAULTS as fault:
            self.counts[kind] += 1
            self.differ(kind, place, "a value that can be computed", f"{type(fault).__name__}: {fault}")

    def lack(self, kind: str, reason: str) -> None:
        """Note that a check was left out, and why."""
        self.lacking[self.file, f"{kind}: {reason}"] += 1

    def succeeds(self, kind: str, place: Place, compute: Callable[[], T]) -> T | None:
        """Count a check that holds if `compute` gives a value; what it gives, or None after a difference."""
        self.counts[kind] += 1
        try:
            return compute()
        except _FAULTS as fault:
            self.differ(kind, place, "", f"{type(fault).__name__}: {fault}")
            return None

    def each(self, kind: str, places: Place, check: Callable[[Place], None]) -> None:
        """Run a check on each item of a list, one fault at a time."""
        for place in places:
            with self.attempt(kind, place):
                check(place)

    @property
    def code(self) -> int:
        """The exit code: 2 if something could not be read, else 1 if something differs."""
        return 2 if self.unreadable else 1 if self.differences else 0


def _show(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:120]}…{text[-60:]} ({len(text)} characters)"
