"""The ways to a peer that are known: in order, and which of them is worth a change from the sessions there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...protocol.ranking import Candidate, Ranked, Ranking, Situation, is_worth_a_change, rank
from ..decisions import Decisions
from ..drivers.airtime_queue import AirtimeQueue
from ..drivers.running import RunningTransport, medium_of
from ..sessions.peer_session import PeerSession
from .endpoints import Endpoints, Near
from .kept_sessions import KeptSessions


class Chooser(Protocol):
    """The node, as far as ranking needs it."""

    decisions: Decisions
    prefer: Sequence[str]
    transports: list[RunningTransport]

    def situation(self) -> Situation:
        """What is known of the surroundings."""

    def monotonic(self) -> float:
        """Seconds."""


class Ways:
    """What may be used to reach whom."""

    def __init__(self, chooser: Chooser, endpoints: Endpoints, kept: KeptSessions) -> None:
        self._chooser = chooser
        self._endpoints = endpoints
        self._kept = kept

    def ranking(self, nonce: bytes) -> Ranking:
        """All ways to a peer that are known, in order, and those that are refused."""
        candidates = [self.candidate(near) for near in self._endpoints.of(nonce)]
        return rank(candidates, self._chooser.prefer, self._chooser.situation(), self._chooser.monotonic())

    def rank_one(self, near: Near) -> Ranking:
        """The same for one endpoint."""
        now = self._chooser.monotonic()
        return rank([self.candidate(near)], self._chooser.prefer, self._chooser.situation(), now)

    def candidate(self, near: Near) -> Candidate:
        """An endpoint, as something to be ranked."""
        running = self.running(near.endpoint.transport)
        if running is None:
            raise LookupError(near.endpoint.transport)
        return Candidate(
            transport=running.name,
            address=near.endpoint.address,
            medium=medium_of(running.spec.traits),
            policy=running.policy,
            stopped=running.stopped if running.spec.traits.dials else "it cannot dial",
            spent=running.usage.spent(),
            failures=near.failures,
            not_before=near.not_before,
        )

    def candidate_of(self, session: PeerSession) -> Candidate:
        """What a session goes over."""
        running = self.running(session.transport)
        medium = medium_of(session.link.traits)
        if running is None:
            return Candidate(transport=session.transport, address=session.link.remote.address, medium=medium)
        return Candidate(
            transport=running.name,
            address=session.link.remote.address,
            medium=medium_of(running.spec.traits),
            policy=running.policy,
        )

    def running(self, name: str) -> RunningTransport | None:
        """A transport by name."""
        return next((running for running in self._chooser.transports if running.name == name), None)

    def airtime_of(self, name: str) -> AirtimeQueue | None:
        """What all that a transport sends waits for, where its airtime is limited."""
        running = self.running(name)
        return running.airtime if running is not None and running.spec.traits.budgeted else None

    def links_airtime_of(self, name: str) -> AirtimeQueue | None:
        """The same for its links, unless they take their turns by themselves."""
        running = self.running(name)
        return running.airtime if running is not None and running.paces_links else None

    def is_served(self, nonce: bytes) -> bool:
        """Whether there is a session with this peer, and no way to it that is worth a change."""
        sessions = self.healthy(nonce)
        return bool(sessions) and not self.better(nonce, sessions) and not self.better_rests(nonce, sessions)

    def healthy(self, nonce: bytes) -> list[PeerSession]:
        """The sessions with a peer that are open, or being opened, and leave nothing without an answer."""
        known = {near.endpoint for near in self._endpoints.of(nonce)}
        return [
            session
            for session in self._kept
            if ((session.is_open and session.beacon_nonce == nonce) or session.endpoint in known)
            and session.life.doubted_since is None
        ]

    def better(self, nonce: bytes, sessions: list[PeerSession]) -> list[Ranked]:
        """Ways that are worth a change from all these sessions."""
        return [way for way in self.usable(nonce) if self._is_better(way.candidate, sessions)]

    def better_rests(self, nonce: bytes, sessions: list[PeerSession]) -> bool:
        """Whether a way that is worth a change is left alone for a while only."""
        refused = [one for one in self.ranking(nonce).refused if one.until is not None]
        return any(self._is_better(one.candidate, sessions) for one in refused)

    def _is_better(self, way: Candidate, sessions: list[PeerSession]) -> bool:
        situation, prefer = self._chooser.situation(), self._chooser.prefer
        return all(
            session.is_open
            and not session.draining
            and is_worth_a_change(way, self.candidate_of(session), prefer, situation)
            and not self._kept.is_declined(session, way.transport)
            for session in sessions
        )

    def usable(self, nonce: bytes) -> list[Ranked]:
        """The ways to a peer with which there is no session that answers; not over one that does not answer."""
        silent = self._silent(nonce)
        return [way for way in self.ranking(nonce).order if way.candidate.transport not in silent]

    def _silent(self, nonce: bytes) -> set[str]:
        """The transports over which this peer does not answer right now."""
        return {session.transport for session in self._kept.of(nonce) if session.life.doubted_since is not None}
