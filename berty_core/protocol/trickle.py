"""When to say what one has: soon after something changed, and ever more rarely while all agree (RFC 6206).

Invariant: in each interval at most one message goes out, at a random moment of its second half, and none if enough
others said the same before.
"""

from __future__ import annotations

from collections.abc import Callable

REDUNDANCY = 2  # others that said the same make it needless to say it too


class Trickle:
    """One timer; `chance` gives a number from 0 to 1."""

    def __init__(self, shortest: float, longest: float, chance: Callable[[], float], now: float) -> None:
        self._shortest, self._longest = shortest, longest
        self._chance = chance
        self._begin(now, shortest)

    def _begin(self, now: float, length: float) -> None:
        self._length = length
        self._end = now + length
        self._at: float | None = now + length * (1 + self._chance()) / 2
        self._agreeing = 0

    def agree(self) -> None:
        """Somebody said the same."""
        self._agreeing += 1

    def disagree(self, now: float) -> None:
        """Something changed, or somebody said something else: begin again with the shortest interval."""
        if self._length > self._shortest:
            self._begin(now, self._shortest)

    def timeout(self) -> float:
        """When `wake` wants to be called."""
        return self._end if self._at is None else self._at

    def wake(self, now: float) -> bool:
        """Whether it is time to say what one has."""
        speaks = self._at is not None and self._at <= now and self._agreeing < REDUNDANCY
        if self._at is not None and self._at <= now:
            self._at = None
        if self._end <= now:
            self._begin(now, min(2 * self._length, self._longest))
        return speaks
