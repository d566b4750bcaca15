"""Whom to dial, over what and when: the best way first, the next one soon after, and rests after failures.

Invariant: a peer is being reached by one task at a time, and the first session that opens ends the other attempts.
"""

from __future__ import annotations

from typing import Protocol

import anyio
import anyio.lowlevel
import attrs
from anyio.abc import TaskGroup

from ...contracts.transport import Beacon, Endpoint, EndpointFound, EndpointLost, Link
from ...crypto.keys import Secret
from ...errors import BertyError
from ...protocol.ranking import Ranked
from ...protocol.session import Session
from ..decisions import Kind
from ..sessions.datagram_stream import as_stream
from ..sessions.peer_session import PeerSession, SessionHost
from .adverts import Adverts, Recognised
from .endpoints import Endpoints, Near
from .kept_sessions import KeptSessions
from .link_beacons import ask_for_beacon, leave_to_peer
from .link_opening import LinkOpener
from .ways import Chooser, Ways

SECOND_DIALLER = 1.0  # the side with the larger nonce leaves the other so much time to dial first
RENAMED = 0.1  # seconds in which a session may say that an endpoint that was just found is its peer's new one
STAGGER = 0.3  # seconds after which the next way is tried beside the first, besides two of its latencies
MAX_WAYS = 4  # that are tried at once to one peer
MAX_SESSIONS = 256


class Dialler(Chooser, Protocol):
    """The node, as far as dialling needs it."""

    def accept(self, link: Link) -> None:
        """Begin a session as the one who was dialled."""

    async def serve(self, session: PeerSession) -> None:
        """Keep a session until it ends."""


@attrs.define(eq=False)
class _Race:
    """Attempts to reach one peer: the first session that opens ends the others."""

    won: PeerSession | None = None


class Dialling:
    """Everything about reaching those who are near."""

    def __init__(self, host: SessionHost, dialler: Dialler, adverts: Adverts, kept: KeptSessions) -> None:
        self.endpoints = Endpoints(host.monotonic)
        self.reaching: set[bytes | Endpoint] = set()
        self._host = host
        self._dialler = dialler
        self.ways = Ways(dialler, self.endpoints, kept)
        self._opener = LinkOpener(self.endpoints, self.ways, dialler)
        self._adverts = adverts
        self._kept = kept
        self._woken = anyio.Event()
        self._urgent: set[bytes] = set()
        self._tasks: TaskGroup | None = None

    def start(self, tasks: TaskGroup) -> None:
        """Dial from now on."""
        self._tasks = tasks

    # -- what is near --------------------------------------------------------------------------

    def take(self, event: EndpointFound | EndpointLost) -> None:
        """A transport reported something."""
        if isinstance(event, EndpointLost):
            near = self.endpoints.lost(event.endpoint)
            self._probe(event.endpoint, near.beacon if near else None)
            self._wake()
            return
        near = self.endpoints.found(event.endpoint, event.beacon)
        self._probe(event.endpoint, event.beacon)
        self.consider(near)

    def _probe(self, endpoint: Endpoint, beacon: Beacon | None) -> None:
        """Something about an endpoint changed: a session with it may be dead without knowing."""
        for session in self._kept:
            same_wire = session.transport == endpoint.transport
            if session.endpoint == endpoint or (same_wire and beacon and session.beacon_nonce == beacon.nonce):
                session.probe()

    def consider_all(self) -> None:
        """What is shown, known or allowed has changed."""
        for near in self.endpoints:
            self.consider(near)
        self._wake()

    def try_all_now(self) -> None:
        """The network changed: dial at once what rested after failures."""
        self.endpoints.try_all_now()
        self.consider_all()

    def _wake(self) -> None:
        self._woken.set()
        self._woken = anyio.Event()

    def reach_urgently(self, nonce: bytes) -> None:
        """The session with a peer leaves what was sent without an answer: look for another way at once."""
        self._urgent.add(nonce)
        for near in self.endpoints:
            if near.beacon is None:
                near.not_before = 0.0  # it may be there
            if near.beacon is None or near.beacon.nonce == nonce:
                self.consider(near)
        self._wake()

    def renamed(self, session: PeerSession) -> None:
        """A session may have another nonce: what was answered under the old one is asked for anew."""
        old, new = session.former_nonce, session.beacon_nonce
        if old == new:
            return
        session.former_nonce = new
        for near in self.endpoints.of(old):
            if near.asked:
                self.endpoints.shows(near, None)
                near.not_before = 0.0
                self.consider(near)

    def consider(self, near: Near) -> None:
        """Dial an endpoint if it shows something we know and there is no session with it, or a worse one."""
        if near.beacon is None:
            self._begin(near.endpoint)
            return
        nonce = near.beacon.nonce
        if self._adverts.is_own(nonce):
            return
        if self.ways.is_served(nonce):
            self.ask_within(nonce)
        elif self._adverts.recognise(near.beacon) is not None:
            self._begin(nonce)

    def _begin(self, key: bytes | Endpoint) -> None:
        if key in self.reaching or self._tasks is None or not self._adverts.shown:
            return
        self.reaching.add(key)
        if isinstance(key, bytes):
            self._tasks.start_soon(self._reach, key)
        else:
            self._tasks.start_soon(self._ask, key)

    def ask_within(self, nonce: bytes) -> None:
        """Whom we want to reach may be at the other end of a session that exists for another reason."""
        for near in self.endpoints.of(nonce):
            for contact in self._adverts.wanted_in(near.beacon) if near.beacon else ():
                for session in self._kept.of(nonce):
                    session.request(contact)

    # -- reaching a peer -----------------------------------------------------------------------

    async def _reach(self, nonce: bytes) -> None:
        """Try until there is a session, or nothing is left to be tried."""
        try:
            await self._wait_for_turn(nonce)
            while self.endpoints.of(nonce):
                sessions = self.ways.healthy(nonce)
                ways = self.ways.better(nonce, sessions) if sessions else self.ways.usable(nonce)
                if sessions and not ways:
                    self.ask_within(nonce)
                    if not self.ways.better_rests(nonce, sessions):
                        return
                if ways and await self._race(nonce, ways):
                    return
                if not ways and not await self._rest(nonce):
                    return
        finally:
            self.reaching.discard(nonce)
            self._urgent.discard(nonce)
        await anyio.lowlevel.checkpoint()

    async def _wait_for_turn(self, nonce: bytes) -> None:
        """Of two that recognise each other the smaller nonce dials first; and a session may know the new nonce soon."""
        if nonce in self._urgent:
            return
        delay = RENAMED if any(session.is_open for session in self._kept) else 0.0
        beacon = next((near.beacon for near in self.endpoints.of(nonce)), None)
        recognised = self._adverts.recognise(beacon) if beacon else None
        if recognised and recognised.wanted is None and self._adverts.present.beacon.nonce > nonce:
            delay = max(delay, SECOND_DIALLER)
        with anyio.move_on_after(delay):
            while nonce not in self._urgent:
                await self._woken.wait()

    async def _rest(self, nonce: bytes) -> bool:
        """Wait until something may be tried again; False if only a change can help, which is told."""
        times = [refused.until for refused in self.ways.ranking(nonce).refused if refused.until is not None]
        if not times:
            return False
        with anyio.move_on_after(max(0.0, min(times) - self._host.monotonic())):
            await self._woken.wait()
        return True

    async def _race(self, nonce: bytes, ways: list[Ranked]) -> bool:
        """Try the ways one after the other, each a little later than the one before; whether a session opened."""
        race = _Race()
        async with anyio.create_task_group() as attempts:
            for way in ways[:MAX_WAYS]:
                ended = anyio.Event()
                attempts.start_soon(self._attempt, nonce, way, race, ended, attempts)
                with anyio.move_on_after(STAGGER + 2 * way.candidate.medium.latency):
                    await ended.wait()
        return race.won is not None

    async def _attempt(self, nonce: bytes, way: Ranked, race: _Race, ended: anyio.Event, attempts: TaskGroup) -> None:
        near = self.endpoints.get(Endpoint(way.candidate.transport, way.candidate.address))
        recognised = self._adverts.recognise(near.beacon) if near and near.beacon else None
        if near is None or recognised is None:
            ended.set()
            return
        words = f"dialling {near.endpoint.address} over {near.endpoint.transport}: {', '.join(way.reasons)}"
        self._decide(words, near, nonce)
        link = await self._open_link(near, nonce)
        session = None if link is None else await self._open_session(link, near, recognised)
        ended.set()
        if session is not None and session.is_open:
            race.won = race.won or session
            attempts.cancel_scope.cancel()

    async def _open_link(self, near: Near, nonce: bytes) -> Link | None:
        if len(self._kept) >= MAX_SESSIONS:
            self.endpoints.failed(near)
            return None
        link = await self._opener.open(near, nonce)
        if link is None or self._tasks is None:
            return link
        return as_stream(link, self._host, self._tasks, self.ways.links_airtime_of(near.endpoint.transport))

    async def _open_session(self, link: Link, near: Near, recognised: Recognised) -> PeerSession:
        """Begin a session on a link, and wait until it is open or has ended; it goes on by itself."""
        session = self.session_on(link, recognised, near.endpoint)
        if self._tasks is not None:
            self._tasks.start_soon(self._keep, session, near.endpoint)
        try:
            await session.settled.wait()
        finally:
            if not session.settled.is_set():
                session.close("another way to this peer was faster")
        return session

    def session_on(self, link: Link, recognised: Recognised, endpoint: Endpoint) -> PeerSession:
        """A session of which this side is the dialler."""
        host = self._host
        machine = Session.dial(
            self._adverts.present.identity,
            recognised.tag,
            recognised.secret,
            Secret(host.entropy(32)),
            host.monotonic(),
        )
        airtime = self.ways.airtime_of(endpoint.transport)
        return PeerSession(host, link, machine, endpoint=endpoint, wanted=recognised.wanted, airtime=airtime)

    async def _keep(self, session: PeerSession, endpoint: Endpoint) -> None:
        """Serve a session that we dialled to its end; what did not work is tried again, slower each time."""
        await self._dialler.serve(session)
        near = self.endpoints.get(endpoint)
        if near is None:
            return
        if near.asked:
            self.endpoints.shows(near, None)  # it may have another one by now
        if session.handshake_hash and session.groups:
            self.endpoints.rests_once(near)
        else:
            self.endpoints.failed(near)
        self.consider(near)

    def session_ended(self, session: PeerSession) -> None:
        """Endpoints that a session covered may be dialled again; those on its own transport after a pause."""
        for near in self.endpoints.of(session.beacon_nonce):
            if near.endpoint.transport == session.transport and not near.failures:
                self.endpoints.rests_once(near)
            self.consider(near)
        if (near_by_address := self.endpoints.get(session.link.remote)) is not None:
            self.consider(near_by_address)

    # -- endpoints and links that show nothing -------------------------------------------------

    async def _ask(self, endpoint: Endpoint) -> None:
        """Open a link to an endpoint that shows nothing, and ask on it who is there."""
        try:
            while (near := self.endpoints.get(endpoint)) is not None and near.beacon is None:
                if not await self._may_ask(near):
                    return
                link = await self._open_link(near, b"")
                if link is not None and await self._meet_on(link, near):
                    return
        finally:
            self.reaching.discard(endpoint)

    async def _may_ask(self, near: Near) -> bool:
        """Wait until this endpoint may be tried; False if only a change can help, which is told."""
        while not any(session.link.remote == near.endpoint for session in self._kept):
            now = self._host.monotonic()
            ranking = self.ways.rank_one(near)
            if ranking.order:
                return True
            until = ranking.refused[0].until
            if until is None:
                return False
            with anyio.move_on_after(until - now):
                await self._woken.wait()
        return False

    def meet(self, link: Link) -> None:
        """A link came up by itself, and it is on us to begin."""
        if self._tasks is None:
            return
        near = self.endpoints.get(link.remote) or Near(link.remote, None)
        self._tasks.start_soon(self._meet_on, link, near)

    def meet_known(self, link: Link, beacon: Beacon) -> None:
        """The other end of a link showed its beacon, and left it to us to begin."""
        if self._tasks is not None:
            self._tasks.start_soon(self._meet_on, link, Near(link.remote, beacon))

    async def _meet_on(self, link: Link, near: Near) -> bool:
        """Ask on a link who is there, unless that is known, and begin a session if it is somebody we know."""
        beacon = near.beacon
        if beacon is None:
            try:
                beacon, link = await ask_for_beacon(link)
            except (BertyError, OSError) as error:
                self.endpoints.failed(near)
                self._decide(f"{_place(near)} does not say who is there: {error}", near)
                await link.aclose()
                return False
            self.endpoints.shows(near, beacon, asked=True)
        recognised = self._adverts.recognise(beacon)
        if recognised is not None and not self._adverts.is_own(beacon.nonce) and not self.ways.is_served(beacon.nonce):
            await self._open_session(link, near, recognised)
            return True
        if recognised is None and near.asked:
            await self._leave_to_peer(link)
        else:
            await link.aclose()
        return self._not_met(near, beacon, recognised)

    async def _leave_to_peer(self, link: Link) -> None:
        """It may be the peer who knows us."""
        try:
            await leave_to_peer(link, self._adverts.present.beacon)
        except (BertyError, OSError):
            await link.aclose()
        else:
            self._dialler.accept(link)

    def _not_met(self, near: Near, beacon: Beacon, recognised: Recognised | None) -> bool:
        """No session on a link that said who is there; whether that is settled for now."""
        if self._adverts.is_own(beacon.nonce):
            words = "this node itself"
        else:
            words = "nobody we know" if recognised is None else "somebody we have a session with"
        self._decide(f"{_place(near)} is {words}", near, beacon.nonce)
        if recognised is None:
            self.endpoints.shows(near, None)
            self.endpoints.ask_later(near)
        return recognised is not None

    def _decide(self, words: str, near: Near, nonce: bytes = b"") -> None:
        self._dialler.decisions.add(Kind.DIAL, words, transport=near.endpoint.transport, peer=nonce)


def _place(near: Near) -> str:
    return f"{near.endpoint.address} over {near.endpoint.transport}"
