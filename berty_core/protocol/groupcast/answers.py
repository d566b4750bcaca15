"""What others asked for, sent piece by piece, unless somebody else was faster.

Invariant: whatever is asked, at most one datagram goes out in each `PACE` units, an entry is not sent again shortly
after it was heard or sent, and no more than `MAX_ANSWERS` entries wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import attrs

from ...codec.cid import Cid
from ..compact_entries import short_id
from ..group import LogKind
from .parts import Name

MAX_ANSWERS = 256
MAX_HEARD = 1024
FIRST = 8.0  # units within which one begins to answer
PACE = 1.5
YIELD = 2.0  # while another one answers: more than its pace
FRESH = 6.0  # units for which what was heard need not be said again


@attrs.define
class Answer:
    """An entry to send: all of it, or the pieces with these numbers, or all in a form that stands alone."""

    kind: LogKind
    cid: Cid
    parts: frozenset[int] | None = None
    stamp: int = 0
    alone: bool = False


class Answers:
    """The queue of answers of one device in one group."""

    def __init__(self, unit: float, chance: Callable[[], float]) -> None:
        self._unit = unit
        self._chance = chance
        self._queue: OrderedDict[Name, Answer] = OrderedDict()
        self._heard: OrderedDict[Name, float] = OrderedDict()
        self._at = 0.0

    def add(self, answer: Answer, now: float) -> None:
        """Somebody asked for an entry."""
        name = (answer.kind, short_id(answer.cid))
        plain = answer.parts is None and not answer.alone
        if plain and now - self._heard.get(name, float("-inf")) < FRESH * self._unit:
            return
        if not self._queue:
            self._at = max(self._at, now + self._unit * self._chance() * FIRST)
        known = self._queue.get(name)
        if known is None:
            if len(self._queue) < MAX_ANSWERS:
                self._queue[name] = answer
        elif known.parts is not None and answer.parts is not None and known.stamp == answer.stamp:
            known.parts |= answer.parts
        elif known.parts is not None or answer.alone:
            self._queue[name] = answer

    def heard(self, name: Name, now: float, part: int | None = None) -> None:
        """Somebody sent an entry, or one piece of it: it need not be said again, and who speaks goes on."""
        self._at = max(self._at, now + self._unit * (YIELD + self._chance() * FIRST))
        answer = self._queue.get(name)
        if part is None:
            self._note(name, now)
            if answer is not None and not answer.alone:
                del self._queue[name]
        elif answer is not None and answer.parts is not None:
            answer.parts -= {part}
            if not answer.parts:
                del self._queue[name]

    def timeout(self) -> float | None:
        """When `next` has something."""
        return self._at if self._queue else None

    def next(self, now: float) -> Answer | None:
        """The entry to send now, once its time has come."""
        if not self._queue or now < self._at:
            return None
        name, answer = self._queue.popitem(last=False)
        self._note(name, now)
        return answer

    def sent(self, datagrams: int, now: float) -> None:
        """So many datagrams went out: the air belongs to others for a while."""
        self._at = now + PACE * self._unit * datagrams

    def _note(self, name: Name, now: float) -> None:
        self._heard[name] = now
        self._heard.move_to_end(name)
        if len(self._heard) > MAX_HEARD:
            self._heard.popitem(last=False)
