"""The live sessions. Of two with one device the better one is kept, and the other drained.

Each end goes by its own ranking and tells the other by draining. Invariant: an end never drains the last session that
it has with a device, and where both drain another one at once, both go on with the one of the smaller hash.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from ...ids import DeviceId
from ...protocol.ranking import Candidate, Situation, is_worth_a_change, why_better
from ..decisions import Decisions, Kind
from ..sessions.peer_session import PeerSession

SIMULTANEOUS = 5.0  # seconds within which two ends may have dialled each other without knowing
SETTLE = 2.0  # seconds in which the session that is kept has to meet all groups of the other one
DECLINED_FOR = 600.0  # seconds for which a transport is not dialled anew that the peer drained
MAX_DECLINED = 1024
DRAINED = "another session with this device is kept"


class Ranker(Protocol):
    """Whoever ranks transports for this node."""

    decisions: Decisions
    prefer: Sequence[str]

    def candidate_of(self, session: PeerSession) -> Candidate:
        """What a session goes over, as something to be ranked."""

    def situation(self) -> Situation:
        """What is known of the surroundings."""

    def monotonic(self) -> float:
        """Seconds."""


class KeptSessions:
    """All live sessions."""

    def __init__(self, ranker: Ranker) -> None:
        self.all: list[PeerSession] = []
        self._ranker = ranker
        self._choosing: set[frozenset[PeerSession]] = set()
        self._declined: OrderedDict[tuple[DeviceId, str], float] = OrderedDict()
        self._why: dict[PeerSession, str] = {}
        self._news = anyio.Event()

    def __iter__(self) -> Iterator[PeerSession]:
        return iter(list(self.all))

    def __len__(self) -> int:
        return len(self.all)

    def of(self, nonce: bytes) -> list[PeerSession]:
        """The open sessions with whom shows an advert with this nonce."""
        return [session for session in self.all if session.is_open and session.beacon_nonce == nonce]

    def why_kept(self, session: PeerSession) -> str:
        """Why a session stays, in words."""
        if session.draining:
            return f"being drained: {session.draining}"
        if session.life.doubted_since is not None:
            return "doubted: what was sent is not answered"
        return self._why.get(session, "the only way to this device that is open")

    def ended(self, session: PeerSession) -> None:
        """It is over."""
        self.all.remove(session)
        self._why.pop(session, None)
        self._tell_news()

    def forget_declined(self) -> None:
        """The network changed: what the peers did not want may be welcome now."""
        self._declined.clear()

    def is_declined(self, session: PeerSession, transport: str) -> bool:
        """Whether the peer of a session prefers not to be met over a transport."""
        until = [self._declined.get((device, transport), 0.0) for device in session.groups.values() if device]
        return any(time > self._ranker.monotonic() for time in until)

    # -- which one stays -----------------------------------------------------------------------

    def changed(self, session: PeerSession, tasks: TaskGroup) -> None:
        """A session opened, met a group, is drained by the peer, is doubted or not any longer."""
        if session.is_open and session.peer_drains and not session.draining:
            self._let_it_drain(session)
        self._tell_news()
        for other in self.all:
            pair = frozenset((session, other))
            if pair not in self._choosing and self._are_rivals(session, other):
                self._choosing.add(pair)
                tasks.start_soon(self._choose, session, other, pair)

    def _tell_news(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    def _are_rivals(self, session: PeerSession, other: PeerSession) -> bool:
        if session is other or session.draining or other.draining:
            return False
        return session.is_open and other.is_open and with_one_device(session, other)

    async def _choose(self, one: PeerSession, other: PeerSession, pair: frozenset[PeerSession]) -> None:
        """Drain the worse one as soon as the better one has shown that it lives and serves the same groups."""
        try:
            better, worse, _ = self._order(one, other)
            with anyio.move_on_after(SETTLE):
                while self._are_rivals(one, other) and not set(worse.groups) <= set(better.groups):
                    await self._news.wait()
            if self._are_rivals(one, other) and not await better.gives_sign():
                better.close("the peer gave no sign of life when another session with it came up")
                return
            if self._are_rivals(one, other):
                self._drain_worse(one, other)
        finally:
            self._choosing.discard(pair)

    def _drain_worse(self, one: PeerSession, other: PeerSession) -> None:
        better, worse, words = self._order(one, other)
        self._why[better] = words
        self._ranker.decisions.add(
            Kind.CHOICE,
            f"of two sessions with one device the one over {better.transport} is kept: {words}",
            transport=better.transport,
            peer=better.beacon_nonce,
        )
        worse.drain(DRAINED)

    def _order(self, one: PeerSession, other: PeerSession) -> tuple[PeerSession, PeerSession, str]:
        """The better one, the worse one, and why."""
        doubts = [session.life.doubted_since is not None for session in (one, other)]
        if doubts[0] != doubts[1]:
            better, worse = (other, one) if doubts[0] else (one, other)
            return better, worse, "the other one leaves what is sent without an answer"
        ways = {session: self._ranker.candidate_of(session) for session in (one, other)}
        prefer, situation = self._ranker.prefer, self._ranker.situation()
        for better, worse in ((one, other), (other, one)):
            if one.transport != other.transport and is_worth_a_change(ways[better], ways[worse], prefer, situation):
                return better, worse, why_better(ways[better], ways[worse], prefer, situation)
        return _of_equals(one, other)

    def _let_it_drain(self, session: PeerSession) -> None:
        """The peer wants to keep another session."""
        others = [other for other in self.all if other is not session and other.is_open]
        others = [other for other in others if with_one_device(session, other)]
        if not any(not other.draining for other in others):
            crossed = [other for other in others if not other.peer_drains]
            kept = min(crossed, key=lambda other: other.handshake_hash, default=None)
            if kept is not None and session.handshake_hash < kept.handshake_hash:
                session.peer_drains = False  # the peer finds out the same from what we sent, and goes on with this one
                return
            if kept is not None:
                kept.go_on()
        for device in () if session.was_silent else filter(None, session.groups.values()):
            self._declined[device, session.transport] = self._ranker.monotonic() + DECLINED_FOR
            if len(self._declined) > MAX_DECLINED:
                self._declined.popitem(last=False)
        session.drain(DRAINED)


def with_one_device(one: PeerSession, other: PeerSession) -> bool:
    """Whether both have proven to be with the same device."""
    return any(device is not None and device == other.groups.get(group) for group, device in one.groups.items())


def _of_equals(one: PeerSession, other: PeerSession) -> tuple[PeerSession, PeerSession, str]:
    """Of two that are alike both ends choose the same one.

    When both dialled at once, it is the one with the smaller hash. Later nobody dials who has a session: the other end
    has lost the old one, though nothing on this side tells so yet.
    """
    if abs(one.opened_at - other.opened_at) > SIMULTANEOUS:
        old, new = sorted((one, other), key=lambda session: session.opened_at)
        return new, old, "it is newer, so the peer has lost the other one"
    better, worse = sorted((one, other), key=lambda session: session.handshake_hash)
    return better, worse, "both are alike, and both ends choose the one with the smaller hash"
