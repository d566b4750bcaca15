"""Amounts that law or fairness limit: at most so much in any window of time, restarts included.

Invariant: no window of true time has more in it than the limit, while the clock of the machine does not run ahead. A
clock that is set back makes us wait; one that jumps forward gains nothing where there is a monotonic one as well.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Callable, Sequence

import attrs

from ..errors import LocalProtocolError, RemoteProtocolError

SLOTS = 600  # a ledger keeps so many sums, whatever is sent
TICK = 0.001  # seconds to wait at least where something has to be forgotten first
_HEADER = struct.Struct(">BddH")
_SLOT = struct.Struct(">dd")
FORMAT = 1


@attrs.frozen(kw_only=True)
class LoRa:
    """The modulation of a LoRa radio (Semtech SX1276 data sheet, section 4.1.1.7)."""

    spreading_factor: int = attrs.field(default=7, validator=[attrs.validators.ge(6), attrs.validators.le(12)])
    bandwidth: float = attrs.field(default=125_000.0, validator=attrs.validators.gt(0))  # Hz
    coding_rate: int = attrs.field(default=5, validator=[attrs.validators.ge(5), attrs.validators.le(8)])  # of 4/5 ..
    preamble: int = attrs.field(default=8, validator=attrs.validators.ge(0))  # symbols that are programmed
    explicit_header: bool = True
    crc: bool = True
    low_data_rate: bool | None = None  # None: as the data sheet demands, for symbols of more than 16 ms

    @property
    def symbol_time(self) -> float:
        """Seconds for each symbol."""
        return float(1 << self.spreading_factor) / self.bandwidth

    def airtime(self, size: int) -> float:
        """Seconds that a datagram of `size` bytes takes on the air."""
        optimised = self.symbol_time > 0.016 if self.low_data_rate is None else self.low_data_rate
        bits = 8 * size - 4 * self.spreading_factor + 28 + 16 * self.crc - 20 * (not self.explicit_header)
        blocks = math.ceil(bits / (4 * (self.spreading_factor - 2 * optimised)))
        symbols = self.preamble + 4.25 + 8 + max(blocks * self.coding_rate, 0)
        return symbols * self.symbol_time


def serial_airtime(bitrate: float, overhead: int = 0) -> Callable[[int], float]:
    """The cost of a medium that takes the same time for each bit; `overhead` is the framing's bytes."""
    return lambda size: 8 * (size + overhead) / bitrate


class AirtimeLedger:
    """How much was used and when; a `Budget` (contracts/bus.py), and any other amount in a window of time.

    At most `limit` in any `window` seconds of what `cost` gives for a datagram's size: airtime for a radio, `float` for
    bytes, `lambda _: 1` for messages. `now` is in Unix seconds everywhere. With a `monotonic` clock, wall time is
    believed for the time between two runs only; without one it is believed whenever it goes forward.

    Across restarts: keep `dump()` before each datagram leaves; or keep `dump(reserve)` before the first of several
    that together cost no more than that. What was reserved counts as used after a restart.
    """

    def __init__(
        self,
        limit: float,
        window: float,
        cost: Callable[[int], float],
        saved: bytes = b"",
        *,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        if limit <= 0 or window <= 0:
            raise LocalProtocolError("a limit holds for a positive amount and time")
        self.limit = limit
        self.window = window
        self.airtime = cost
        self._monotonic = monotonic
        self._slots: deque[tuple[float, float]] = deque()  # when the newest of a slot was used, and how much
        self._width = window / SLOTS
        self._time = 0.0  # seconds that surely passed since the ledger was begun
        self._seen: float | None = None  # what the clock said then
        self._seen_monotonic: float | None = None
        self._reserved = 0.0  # by an earlier run that may have used it until its end
        if saved:
            self._restore(saved)

    # -- the budget ----------------------------------------------------------------------------

    def left(self, now: float) -> float:
        """What may be used at `now`."""
        self._pass(now)
        return max(0.0, self.limit - self._used())

    def allowed_at(self, size: int, now: float) -> float:
        """The earliest time, `now` or later, at which a datagram of `size` bytes may go out; inf: never."""
        return self.amount_allowed_at(self.airtime(size), now)

    def take(self, size: int, now: float) -> bool:
        """Use what a datagram of `size` bytes costs, if it may go at `now`; False: nothing was used."""
        return self.take_amount(self.airtime(size), now)

    def amount_allowed_at(self, amount: float, now: float) -> float:
        """The same for an amount."""
        self._pass(now)
        if not 0 <= amount <= self.limit:
            return math.inf
        used = self._used()
        if self._fits(used + amount):
            return now
        for when, freed in self._slots:
            used -= freed
            if self._fits(used + amount):
                return now + max(when + self.window - self._time, TICK)
        return now + self.window

    def take_amount(self, amount: float, now: float) -> bool:
        """The same for an amount."""
        if self.amount_allowed_at(amount, now) > now:
            return False
        self._add(amount, self._time)
        return True

    def _used(self) -> float:
        return math.fsum(amount for _, amount in self._slots)

    def _fits(self, total: float) -> bool:
        return total <= self.limit * (1 + 1e-12)  # sums of floats

    def _add(self, amount: float, time: float) -> None:
        """Count an amount with the newest ones: a slot is as old as its newest, so it is forgotten too late only."""
        if self._slots and int(self._slots[-1][0] / self._width) == int(time / self._width):
            amount += self._slots.pop()[1]
        self._slots.append((time, amount))

    # -- time ----------------------------------------------------------------------------------

    def _pass(self, now: float) -> None:
        """Let the time pass that surely passed: none, where the clock was set back."""
        self._time += self._elapsed(now)
        self._seen = now
        if self._reserved:
            self._add(self._reserved, self._time)
            self._reserved = 0.0
        while self._slots and self._slots[0][0] + self.window <= self._time:
            self._slots.popleft()

    def _elapsed(self, now: float) -> float:
        if not math.isfinite(now):
            raise LocalProtocolError("time is a number")
        before, ticks = self._seen_monotonic, self._monotonic() if self._monotonic else None
        self._seen_monotonic = ticks
        if before is not None and ticks is not None:
            return max(0.0, ticks - before)
        return 0.0 if self._seen is None else max(0.0, now - self._seen)

    # -- restarts ------------------------------------------------------------------------------

    def dump(self, reserve: float = 0.0) -> bytes:
        """All that is known, in less than 10 kB; give it as `saved` after a restart."""
        seen = 0.0 if self._seen is None else self._seen
        header = _HEADER.pack(FORMAT, seen, self._reserved + reserve, len(self._slots))
        return header + b"".join(_SLOT.pack(self._time - when, amount) for when, amount in self._slots)

    def _restore(self, saved: bytes) -> None:
        try:
            form, seen, reserved, count = _HEADER.unpack_from(saved)
            slots = [_SLOT.unpack_from(saved, _HEADER.size + _SLOT.size * number) for number in range(count)]
        except struct.error:
            raise RemoteProtocolError("this is no ledger") from None
        is_whole = form == FORMAT and len(saved) == _HEADER.size + _SLOT.size * count
        if not is_whole or not _are_sound([seen], [reserved], *zip(*slots, strict=True)):
            raise RemoteProtocolError("this is no ledger of this version")
        self._seen, self._reserved, self._time = seen, reserved, 0.0
        for age, amount in sorted(slots, reverse=True):
            self._add(amount, -age)


def _are_sound(seen: Sequence[float], *amounts: Sequence[float]) -> bool:
    """Whether all are numbers, and ages and amounts are not negative."""
    return math.isfinite(seen[0]) and all(math.isfinite(one) and one >= 0 for many in amounts for one in many)
