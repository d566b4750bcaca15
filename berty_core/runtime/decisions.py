"""What the node decided about transports, dials and sessions, in words. Invariant: only the newest are kept."""

from __future__ import annotations

import enum
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import attrs

MAX_KEPT = 200
MAX_WORDS = 500

logger = logging.getLogger("berty.connectivity")


class Kind(enum.Enum):
    """What a decision is about."""

    TRANSPORT = "transport"  # one starts, fails, rests
    FAULT = "fault"  # a driver did what a driver must not do
    DIAL = "dial"
    SESSION = "session"  # one opened, is doubted, ended
    CHOICE = "choice"  # of two ways to a device one is kept
    NETWORK = "network"
    QUOTA = "quota"


@attrs.frozen
class Decision:
    """One decision: when (Unix seconds), what about, and why. `peer` is the nonce of the peer's advert, in hex."""

    at: float
    kind: Kind
    words: str
    transport: str = ""
    peer: str = ""
    times: int = 1

    def view(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**attrs.asdict(self), "kind": self.kind.value}


class Decisions:
    """The newest decisions, oldest first; one that is taken again and again is kept once, with a count."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._kept: deque[Decision] = deque(maxlen=MAX_KEPT)

    def add(self, kind: Kind, words: str, *, transport: str = "", peer: bytes = b"") -> None:
        """Keep a decision, and log it."""
        made = Decision(self._now(), kind, words[:MAX_WORDS], transport, peer.hex())
        last = self._kept[-1] if self._kept else None
        if last is not None and attrs.evolve(last, at=made.at, times=1) == made:
            self._kept[-1] = attrs.evolve(made, times=last.times + 1)
        else:
            self._kept.append(made)
        logger.log(logging.WARNING if kind is Kind.FAULT else logging.INFO, "%s", made.words)

    def __iter__(self) -> Iterator[Decision]:
        return iter(list(self._kept))

    def __len__(self) -> int:
        return len(self._kept)
