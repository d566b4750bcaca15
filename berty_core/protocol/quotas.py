"""How much of a quota was used: amounts in slices of a window, so that what is old falls out of it bit by bit.

Invariant: in no window is more counted as free than the quota leaves, also after the clock was set back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from ..codec.dagcbor import decode_dagcbor, encode_dagcbor
from ..errors import RemoteProtocolError

SLICES = 24
DAY = 86400.0
HOUR = 3600.0


@attrs.define
class Ledger:
    """What was used within the last `window` seconds (Unix time), in slices; nothing of it is lost by a restart."""

    window: float
    _used: dict[int, float] = attrs.field(factory=dict)

    def add(self, amount: float, now: float) -> None:
        """Count an amount."""
        self._tidy(now)
        self._used[self._slice(now)] = self._used.get(self._slice(now), 0.0) + amount

    def used(self, now: float) -> float:
        """What counts at `now`."""
        self._tidy(now)
        return math.fsum(self._used.values())

    def free_at(self, limit: float, now: float) -> float:
        """When less than `limit` counts, if nothing is added (Unix seconds); `now` if that is so already."""
        left = self.used(now)
        for number in sorted(self._used):
            if left < limit:
                break
            left -= self._used[number]
            now = max(now, (number + SLICES + 1) * self.window / SLICES)
        return now

    def _slice(self, now: float) -> int:
        return int(now * SLICES // self.window)

    def _tidy(self, now: float) -> None:
        """Drop what is over; what seems to be of the future was used before the clock was set back: it counts now."""
        present = self._slice(now)
        later = [number for number in self._used if number > present]
        for number in later:
            self._used[present] = self._used.get(present, 0.0) + self._used.pop(number)
        for number in [number for number in self._used if number < present - SLICES]:
            del self._used[number]

    def to_value(self) -> list[list[float]]:
        """What is to be kept."""
        return [[float(number), amount] for number, amount in sorted(self._used.items())]

    @classmethod
    def from_value(cls, window: float, value: object) -> Ledger:
        """A ledger as it was kept; one that cannot be read begins anew."""
        used: dict[int, float] = {}
        if isinstance(value, list):
            for pair in value[: SLICES + 1]:
                if isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, float) for part in pair):
                    number, amount = pair
                    if math.isfinite(number) and math.isfinite(amount) and amount > 0:
                        used[int(number)] = amount
        return cls(window, used)


def encode_ledgers(ledgers: Mapping[str, Ledger]) -> bytes:
    """Ledgers by name, as bytes to be kept."""
    return encode_dagcbor({name: ledger.to_value() for name, ledger in ledgers.items()})


def decode_ledgers(data: bytes, windows: Mapping[str, float]) -> dict[str, Ledger]:
    """The same back, each with its window; what is missing or damaged begins anew."""
    try:
        value = decode_dagcbor(data)
    except RemoteProtocolError:
        value = {}
    kept = value if isinstance(value, dict) else {}
    return {name: Ledger.from_value(window, kept.get(name)) for name, window in windows.items()}
