"""Which messages this device is to confirm on a bus, and which own ones it asks the others about.

One signed frame confirms many messages at once, so it waits a little; who is not told asks, rarer each time, and stops.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable

import attrs

from ...codec.cid import Cid
from ..compact_entries import DEVICE_LENGTH, ID_LENGTH
from .frames import HELD_LENGTH, SIGNATURE_LENGTH

MAX_WAITING = 256
MAX_TRIES = 5
FIRST, WITHIN = 4.0, 8.0  # units before messages are confirmed
ANSWER = 32.0  # units in which a confirmation is waited for


@attrs.define
class _Asking:
    at: float
    tries: int = 0


class Confirmations:
    """Both directions, for one group on one bus. `room` is the bytes that a frame may have."""

    def __init__(self, unit: float, chance: Callable[[], float], room: int) -> None:
        self._unit = unit
        self._chance = chance
        self._room = room
        self._to_confirm: OrderedDict[Cid, None] = OrderedDict()
        self._confirm_at: float | None = None
        self._unheld: OrderedDict[Cid, _Asking] = OrderedDict()
        self._ask_at = 0.0  # not before

    def add(self, cids: Iterable[Cid], now: float) -> None:
        """These are durable here once the open transaction is."""
        for cid in cids:
            if len(self._to_confirm) < MAX_WAITING:
                self._to_confirm[cid] = None
        if self._to_confirm and self._confirm_at is None:
            self._confirm_at = now + self._unit * (FIRST + self._chance() * WITHIN)

    def take(self, now: float) -> tuple[Cid, ...]:
        """What one frame confirms now."""
        if self._confirm_at is None or self._confirm_at > now:
            return ()
        count = (self._room - 1 - DEVICE_LENGTH - SIGNATURE_LENGTH) // HELD_LENGTH
        chosen = tuple(self._to_confirm)[:count]
        for cid in chosen:
            del self._to_confirm[cid]
        self._confirm_at = now + self._unit * FIRST if self._to_confirm else None
        return chosen

    def forget(self) -> None:
        """The open transaction never happened; what it would have confirmed is asked for again."""
        self._to_confirm.clear()
        self._confirm_at = None

    def await_holder(self, cids: Iterable[Cid], now: float) -> None:
        """Nobody is known to hold these own messages."""
        for cid in cids:
            if cid not in self._unheld:
                self._unheld[cid] = _Asking(now + self._wait(1))
                if len(self._unheld) > MAX_WAITING:
                    self._unheld.popitem(last=False)

    def ask_again(self, now: float) -> None:
        """Somebody new is on the bus."""
        for asking in self._unheld.values():
            asking.tries = 0
            asking.at = min(asking.at, now + self._wait(1)) if asking.at != math.inf else now + self._wait(1)

    def held(self, cid: Cid) -> None:
        """Somebody holds an own message."""
        self._unheld.pop(cid, None)

    def asked_about(self, cid: Cid) -> tuple[int, float]:
        """How often the others were asked about an own message, and when they are next; inf: not by itself."""
        asking = self._unheld.get(cid)
        return (0, math.inf) if asking is None else (asking.tries, max(asking.at, self._ask_at))

    def timeout(self) -> float:
        """When `take` or `questions` has something."""
        times = [] if self._confirm_at is None else [self._confirm_at]
        asking = min((asking.at for asking in self._unheld.values()), default=math.inf)
        return min([*times, max(asking, self._ask_at)])

    def questions(self, now: float) -> tuple[Cid, ...]:
        """Own messages to ask about now, as many as one frame holds."""
        if min((asking.at for asking in self._unheld.values()), default=math.inf) > now or self._ask_at > now:
            return ()
        self._ask_at = now + self._unit * ANSWER
        soon = now + self._unit * ANSWER  # what is due soon goes along
        due = [cid for cid, asking in self._unheld.items() if asking.at <= soon][: (self._room - 1) // ID_LENGTH]
        for cid in due:
            asking = self._unheld[cid]
            asking.tries += 1
            asking.at = now + self._wait(2**asking.tries) if asking.tries < MAX_TRIES else math.inf
        return tuple(due)

    def _wait(self, times: int) -> float:
        return self._unit * ANSWER * times * (1 + self._chance()) / 2
