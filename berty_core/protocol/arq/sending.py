"""The sending half of a reliable stream: what waits, what is under way, what is lost, and how much may go at once.

Selective repeat with acknowledgements that name what came. Invariant: a number always stands for the same bytes, and
never is more under way than the other end said it takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

import attrs

from .tuning import Tuning
from .wire import Ack, near

PROBES = 2  # datagrams that are repeated after a time-out
LONGEST = 60.0  # seconds to wait for an answer, however slow they were so far


class RoundTrip:
    """How long an answer takes, and how long to wait for one (RFC 6298; Karn: repeated datagrams tell nothing)."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self._smooth: float | None = None
        self._variation = 0.0
        self._doubled = 1
        self.least = float("inf")
        """The shortest time that an answer took."""

    def sample(self, seconds: float) -> None:
        """Note how long one answer took."""
        self.least = min(self.least, seconds)
        if self._smooth is None:
            self._smooth, self._variation = seconds, seconds / 2
        else:
            self._variation += (abs(self._smooth - seconds) - self._variation) / 4
            self._smooth += (seconds - self._smooth) / 8

    @property
    def _base(self) -> float:
        tuning = self._tuning
        if self._smooth is None:
            return tuning.first_timeout
        return min(max(tuning.least_timeout, self._smooth + 4 * self._variation + tuning.ack_delay), LONGEST)

    @property
    def timeout(self) -> float:
        """Seconds after which what is not acknowledged counts as lost."""
        base = self._base
        return min(base * self._doubled, max(self._tuning.most_timeout, base))

    @property
    def give_up(self) -> float:
        """Seconds of silence after which nobody is there any more: a dozen questions at the least."""
        return max(self._tuning.give_up, 16 * self._base)

    @property
    def is_backing_off(self) -> bool:
        """Whether nothing came since the last time-out."""
        return self._doubled > 1

    @property
    def patience(self) -> float:
        """Seconds after which a datagram is late if one that was sent after it came."""
        return 1.25 * (self._tuning.first_timeout if self._smooth is None else self._smooth)

    def back_off(self) -> None:
        """Wait twice as long: nothing came."""
        self._doubled = min(2 * self._doubled, 64)

    def settle(self) -> None:
        """Something came: wait as measured again."""
        self._doubled = 1


class Burst:
    """How many datagrams may be under way: doubled each round at first, then one more each round, less after loss.

    Loss on a poor medium is rarely congestion, so a loss takes three tenths and never below a floor.
    """

    def __init__(self, tuning: Tuning) -> None:
        self._least, self._most = tuning.least_burst, tuning.most_burst
        self.size = float(tuning.first_burst)
        self._threshold = float(tuning.most_burst)
        self._until = 0  # losses among transmissions before this one are part of a loss that was answered

    def grow(self, acknowledged: int) -> None:
        """Datagrams came through."""
        step = acknowledged if self.size < self._threshold else acknowledged / self.size
        self.size = min(self.size + step, self._most)

    def shrink(self, lost: int, following: int) -> None:
        """Transmission `lost` is lost; `following` is the number of the next one. Once for each round."""
        if lost >= self._until:
            self._until = following
            self._threshold = self.size = max(self.size * 0.7, min(self._least, self._most))

    def restart(self, following: int) -> None:
        """Nothing at all came through."""
        self._until = following
        self._threshold = max(self.size * 0.7, 2.0)
        self.size = float(min(self._least, self._most))


@attrs.define(eq=False)
class Flying:
    """A numbered piece that is not acknowledged. Transmissions are counted over the whole stream."""

    number: int
    payload: bytes = attrs.field(repr=False)
    end: bool
    sent_at: float = 0.0
    first: int = 0
    last: int = -1  # transmission; -1: none yet

    @property
    def was_repeated(self) -> bool:
        """Whether it was sent more than once."""
        return self.last > self.first


class Sending:
    """Bytes on their way out."""

    def __init__(self, tuning: Tuning) -> None:
        self.round_trip = RoundTrip(tuning)
        self.burst = Burst(tuning)
        self.repeated = 0  # transmissions that were not the first of their piece
        self._tuning = tuning
        self._queue = bytearray()
        self._queued_at: float | None = None
        self._finishing = self._end_numbered = False
        self._flying: dict[int, Flying] = {}
        self._lost: dict[int, Flying] = {}
        self._under_way: dict[int, Flying] = {}  # those that are not lost, by transmission, oldest first
        self._next = 0  # number of the next new piece
        self._edge = 0  # the other end takes numbers below this
        self._known = 0  # all numbers below came
        self._transmissions = 0
        self._due: float | None = None
        self._arrived = -1  # the newest transmission that surely came

    @property
    def room(self) -> int:
        """Bytes that may be added."""
        return 0 if self._finishing else max(0, self._tuning.buffer - len(self._queue))

    @property
    def is_waiting(self) -> bool:
        """Whether something is under way."""
        return bool(self._flying)

    @property
    def is_idle(self) -> bool:
        """Whether all that was added so far is acknowledged."""
        return not self._queue and not self._flying

    @property
    def is_done(self) -> bool:
        """Whether all there was, and its end, is acknowledged."""
        return self._end_numbered and not self._flying

    @property
    def is_blocked(self) -> bool:
        """Whether there is something to send, and nothing but the other end's window keeps it from going."""
        return self._has_more() and not self._flying and self._next >= self._edge

    def allow(self, window: int) -> None:
        """The other end takes so many datagrams at first."""
        self._edge = window

    def push(self, data: bytes, now: float) -> int:
        """Add bytes; how many of them were taken."""
        taken = min(len(data), self.room)
        if taken and self._queued_at is None:
            self._queued_at = now
        self._queue += data[:taken]
        return taken

    def finish(self) -> None:
        """Nothing more will be added."""
        self._finishing = True

    @property
    def has_more_now(self) -> bool:
        """Whether another piece will follow before anything is acknowledged."""
        return self._may_go() and (bool(self._lost) or (self._has_more() and self._next < self._edge))

    def _may_go(self) -> bool:
        return len(self._under_way) < int(self.burst.size)

    def _has_more(self) -> bool:
        return bool(self._queue) or (self._finishing and not self._end_numbered)

    def take(self, now: float, size: int, new_size: int) -> Flying | None:
        """The next piece to send now: a lost one, or a new one of at most `new_size` of at most `size` bytes."""
        if not self._may_go():
            return None
        if self._lost:
            number = min(self._lost)
            return self._launch(self._lost.pop(number), now)
        if not self._has_more() or self._next >= self._edge or self._ripe_at(size) > now:
            return None
        flying = Flying(self._next, bytes(self._queue[:new_size]), False)
        del self._queue[:new_size]
        self._queued_at = now if self._queue else None
        flying.end = self._end_numbered = self._finishing and not self._queue
        self._flying[self._next] = flying
        self._next += 1
        return self._launch(flying, now)

    def _ripe_at(self, size: int) -> float:
        """When what waits may go, although it does not fill a datagram."""
        if self._finishing or len(self._queue) >= size or self._queued_at is None:
            return 0.0
        return self._queued_at + self._tuning.linger

    def _launch(self, flying: Flying, now: float) -> Flying:
        flying.first = self._transmissions if flying.last < 0 else flying.first
        self.repeated += flying.last >= 0
        flying.last, flying.sent_at = self._transmissions, now
        self._under_way[self._transmissions] = flying
        self._transmissions += 1
        self._due = now + self.round_trip.timeout
        return flying

    def timeout(self, size: int) -> float | None:
        """When `wake` or `take` has something to do."""
        times = [self._due] if self._due is not None and self._flying else []
        if (oldest := next(self._overtaken(), None)) is not None:
            times.append(oldest.sent_at + self.round_trip.patience)
        if self._has_more() and self._next < self._edge and self._may_go():
            times.append(self._ripe_at(size))
        return min(times, default=None)

    def wake(self, now: float) -> None:
        """Find out what is late. Where nothing came for too long, repeat a little: the answer will tell the rest."""
        self._find_losses(now)
        if self._due is None or not self._flying or now < self._due:
            return
        for flying in list(self._under_way.values())[:PROBES]:
            self._lose(flying)
        if self.round_trip.is_backing_off:
            self.burst.restart(self._transmissions)
        self.round_trip.back_off()
        self._due = now + self.round_trip.timeout

    def _lose(self, flying: Flying) -> None:
        del self._under_way[flying.last]
        self._lost[flying.number] = flying

    def acknowledge(self, ack: Ack, now: float) -> bool:
        """Learn what came; False if the acknowledgement speaks of what was never sent."""
        following = near(ack.next, self._known)
        named = [following + 1 + bit for bit in range(8 * len(ack.map)) if ack.map[bit // 8] >> bit % 8 & 1]
        if following > self._next or (named and named[-1] >= self._next):
            return False
        if following < self._known:
            return True  # an old one that was overtaken
        came = [self._flying.pop(number) for number in range(self._known, following) if number in self._flying]
        came += [self._flying.pop(number) for number in named if number in self._flying]
        self._known = following
        self._edge = max(self._edge, following + ack.window)
        if came:
            self._progress(came, now)
        return True

    def _progress(self, came: list[Flying], now: float) -> None:
        newest = max(came, key=lambda flying: flying.last)
        if not newest.was_repeated and newest.number not in self._lost:
            self.round_trip.sample(now - newest.sent_at)
        for flying in came:
            self._lost.pop(flying.number, None)
            self._under_way.pop(flying.last, None)
        self.round_trip.settle()
        self.burst.grow(len(came))
        self._arrived = max(self._arrived, *(self._transmission_of(flying, now) for flying in came))
        self._due = now + self.round_trip.timeout if self._flying else None
        self._find_losses(now)

    def _transmission_of(self, flying: Flying, now: float) -> int:
        """Which transmission was acknowledged: not one that is too recent for an answer."""
        is_recent = flying.was_repeated and now - flying.sent_at < self.round_trip.least
        return flying.first if is_recent else flying.last

    def _overtaken(self) -> Iterator[Flying]:
        return takewhile(lambda flying: flying.last < self._arrived, self._under_way.values())

    def _find_losses(self, now: float) -> None:
        """What was sent well before something that came, in number or in time, is lost."""
        patience, enough = self.round_trip.patience, self._arrived - self._tuning.reordering
        for flying in list(self._overtaken()):
            if flying.last > enough and flying.sent_at + patience > now:
                break
            self.burst.shrink(flying.last, self._transmissions)
            self._lose(flying)
