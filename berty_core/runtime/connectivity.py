"""Show ourselves, recognise others, and decide whom to dial. Nothing here trusts an endpoint: the session does.

Every decision is an event that can be printed (`decisions`).
"""

from __future__ import annotations

import logging
import random
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, cast

import anyio
import anyio.lowlevel
import attrs
from anyio.abc import TaskGroup, TaskStatus

from ..contracts.session import ProfileHost, SessionProfile, SessionSpec
from ..contracts.transport import (
    NONCE_LENGTH,
    TAG_LENGTH,
    Beacon,
    Endpoint,
    EndpointFound,
    EndpointLost,
    Link,
    LinkTransport,
    Network,
    State,
    Transport,
    TransportSpec,
)
from ..crypto.kdf import hmac_sha256
from ..crypto.keys import Secret, x25519_pair
from ..errors import BertyError, LocalProtocolError
from ..ids import AccountId
from ..protocol.rendezvous import advert_key, session_secret
from ..protocol.session import MAGIC, NodeIdentity, ReplayGuard, Session
from .datagram_stream import as_stream
from .device_settings import DeviceSettings
from .first_byte import SortedLink
from .peer_session import PeerSession, SessionHost
from .replica import Points
from .surroundings import Surroundings

ROTATION = 900.0  # seconds for which node key, nonce, name and port stay the same
DEBOUNCE = 0.05
SECOND_DIALLER = 1.0  # the side with the larger nonce leaves the other so much time to dial first
RENAMED = 0.1  # seconds in which a session may say that an endpoint that was just found is its peer's new one
MAX_BACKOFF = 60.0
MAX_ENDPOINTS = 2048
MAX_SESSIONS = 256
SIMULTANEOUS = 5.0  # seconds within which two ends may have dialled each other without knowing
GRACE = 2  # adverts that may still be answered: the present one and the one before

logger = logging.getLogger("berty.connectivity")


class ConnectivityHost(SessionHost, Protocol):
    """What the connectivity is given by its node."""

    profile_name: str

    async def points(self) -> Points:
        """Where to meet."""

    def settings(self, name: str) -> DeviceSettings:
        """What a transport keeps in the home."""

    def profile_host(self, name: str, said: Callable[[State, tuple[str, ...]], None]) -> ProfileHost:
        """What a session profile may use of the node; `said` is told what it says of itself."""


@attrs.frozen
class Shown:
    """What one advert period is made of: identity, nonce, and the points that are shown."""

    identity: NodeIdentity
    beacon: Beacon
    secrets: dict[bytes, Secret] = attrs.field(repr=False)
    link_tag: bytes  # the one of these tags that stands for our contact link, or nothing


@attrs.frozen
class Recognised:
    """A tag that somebody shows and we know: by a group, or as somebody we want to reach."""

    tag: bytes
    secret: Secret = attrs.field(repr=False)
    wanted: AccountId | None


@attrs.define(eq=False)
class RunningTransport:
    """One transport with what it said of itself last; another one is made for each start."""

    spec: TransportSpec
    make: Callable[[], Transport]
    transport: LinkTransport | None = None
    state: State = State.STARTING
    reasons: tuple[str, ...] = ()
    started: bool = False
    shown: Beacon | None = None


@attrs.define(eq=False)
class RunningProfile:
    """One session profile with what it said of itself last."""

    spec: SessionSpec
    profile: SessionProfile
    state: State = State.STARTING
    reasons: tuple[str, ...] = ()
    started: bool = False

    def said(self, state: State, reasons: tuple[str, ...]) -> None:
        """Keep what the profile says of itself."""
        self.state, self.reasons = state, reasons


class Connectivity:
    """Which transports run, who is near, and with whom there is a session."""

    def __init__(
        self,
        host: ConnectivityHost,
        transports: Sequence[tuple[TransportSpec, Callable[[], Transport]]],
        profiles: Sequence[tuple[SessionSpec, SessionProfile]] = (),
    ) -> None:
        self._host = host
        self.transports = [RunningTransport(spec, make) for spec, make in transports]
        self.profiles = [RunningProfile(spec, profile) for spec, profile in profiles]
        self.sessions: list[PeerSession] = []
        self.surroundings = Surroundings()
        self.decisions: deque[str] = deque(maxlen=200)
        self._endpoints: OrderedDict[Endpoint, Beacon | None] = OrderedDict()
        self._dialling: set[Endpoint] = set()
        self._failures: dict[Endpoint, int] = {}
        self._shown: deque[Shown] = deque(maxlen=GRACE)
        self._guard = ReplayGuard()  # one for all periods: a tag outlives the one it was shown in
        self._keys: dict[bytes, tuple[Secret, Secret]] = {}
        self._points = Points({}, None, {})
        self._changed = anyio.Event()
        self._tasks: TaskGroup | None = None

    # -- life ----------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run all transports and profiles until cancelled; one that fails starts again alone, with growing pauses."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            for running in self.transports:
                tasks.start_soon(self._supervise, running, partial(self._run_transport, running))
            for one in self.profiles:
                tasks.start_soon(self._supervise, one, partial(self._run_profile, one))
            tasks.start_soon(self._advertise)
            task_status.started()
            await anyio.sleep_forever()

    async def _supervise(self, running: RunningTransport | RunningProfile, run: Callable[[], Awaitable[None]]) -> None:
        failures = 0
        while True:
            try:
                await run()
            except* Exception as errors:  # a plugin may raise anything; the node goes on without it
                failures += 1
                reason = _words(errors)
                running.state, running.reasons = State.FAILED, (reason,)
                self._decide(f"{running.spec.name} failed ({reason}); it is started again")
                logger.exception("%s failed", running.spec.name)
            running.started = False
            await anyio.sleep(min(MAX_BACKOFF, 2.0**failures) * random.uniform(0.5, 1))  # noqa: S311  jitter

    async def _run_transport(self, running: RunningTransport) -> None:
        running.shown = None
        running.transport = transport = cast(LinkTransport, running.make())
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._start_transport, running, transport)
            running.started = True
            self._changed.set()
            if running.spec.traits.discovers:
                async with transport.discover() as found:
                    async for event in found:
                        self._found(event)

    async def _start_transport(
        self,
        running: RunningTransport,
        transport: Transport,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        await transport.run(
            _TransportHost(self, running, self._host.settings(running.spec.name)), task_status=task_status
        )

    async def _run_profile(self, running: RunningProfile) -> None:
        host = self._host.profile_host(running.spec.name, running.said)
        async with anyio.create_task_group() as tasks:
            await tasks.start(partial(running.profile.run, host))
            running.started = True

    def _profile_for(self, first: int) -> SessionProfile | None:
        """The profile that a link belongs to whose first byte is this one; None: the private one."""
        for running in self.profiles:
            if running.started and first != MAGIC and first in running.spec.first_bytes:
                return running.profile
        return None

    # -- showing ourselves ---------------------------------------------------------------------

    def refresh(self) -> None:
        """The points changed: show the new ones, and offer new groups on live sessions."""
        self._changed.set()

    async def _advertise(self) -> None:
        rotate = True
        while True:
            self._changed = anyio.Event()
            await self._show(rotate)
            for session in list(self.sessions):
                session.offer_groups()
            rotate = True
            with anyio.move_on_after(ROTATION * random.uniform(0.8, 1.2)):  # noqa: S311  spread in time
                await self._changed.wait()
                await anyio.sleep(DEBOUNCE)
                rotate = False

    async def _show(self, rotate: bool) -> None:
        """Show our points; under the same beacon while they are the same and the period is not over."""
        points = await self._host.points()
        rotate = rotate or points != self._points
        self._points = points
        self._keys = {point: self._keys.get(point) or _point_keys(point) for point in self._all_points()}
        if rotate:
            self._new_period()
            self._tell_sessions(self._shown[-1].beacon)  # before others see it, or they take us for somebody else
        for running in self.transports:
            await self._show_on(running, self._shown[-1].beacon)
        for endpoint in list(self._endpoints):
            self._consider(endpoint)

    async def _show_on(self, running: RunningTransport, beacon: Beacon) -> None:
        if not running.started or running.transport is None or running.shown == beacon:
            return
        running.shown = beacon
        try:
            await running.transport.advertise(beacon)
        except Exception as error:  # a plugin may raise anything; it is named, and the others go on
            self._decide(f"{running.spec.name} cannot show us: {error}")

    def _tell_sessions(self, beacon: Beacon) -> None:
        for session in self.sessions:
            session.change_beacon(beacon.nonce)

    def _new_period(self) -> None:
        """Fresh node key and nonce, and tags for as many of our points as the transports can show."""
        nonce = self._host.entropy(NONCE_LENGTH)
        key = Secret(self._host.entropy(32))
        identity = NodeIdentity(key, x25519_pair(key)[1], nonce, self._host.profile_name)
        room = min((r.spec.traits.beacon_bytes for r in self.transports if r.spec.traits.beacon_bytes), default=1000)
        shown = list(self._points.groups) + ([self._points.own_link] if self._points.own_link else [])
        count = max(1, (room - NONCE_LENGTH) // TAG_LENGTH)
        if len(shown) > count:
            shown = random.sample(shown, count)  # another part of them in each period
        secrets = {_tag(self._keys[point][0], nonce): self._keys[point][1] for point in shown}
        tags = tuple(sorted(secrets))
        own_link = self._points.own_link
        link_tag = _tag(self._keys[own_link][0], nonce) if own_link else b""
        self._shown.append(Shown(identity, Beacon(nonce, tags), secrets, link_tag))

    def _all_points(self) -> list[bytes]:
        own = [self._points.own_link] if self._points.own_link else []
        return [*self._points.groups, *own, *self._points.wanted]

    # -- recognising others --------------------------------------------------------------------

    def _found(self, event: EndpointFound | EndpointLost) -> None:
        if isinstance(event, EndpointLost):
            beacon = self._endpoints.pop(event.endpoint, None)
            self._failures.pop(event.endpoint, None)
            self._probe(event.endpoint, beacon)
            return
        self._endpoints[event.endpoint] = event.beacon
        self._probe(event.endpoint, event.beacon)
        if len(self._endpoints) > MAX_ENDPOINTS:
            self._endpoints.popitem(last=False)
        self._consider(event.endpoint)

    def _probe(self, endpoint: Endpoint, beacon: Beacon | None) -> None:
        """Something about an endpoint changed: a session with it may be dead without knowing."""
        for session in self.sessions:
            if session.endpoint == endpoint or (beacon is not None and session.beacon_nonce == beacon.nonce):
                session.probe()

    def probe_all(self, transport: str) -> None:
        """A transport's network changed: each of its sessions may be dead without knowing."""
        for session in self.sessions:
            if session.transport == transport:
                session.probe()

    def _recognise(self, beacon: Beacon) -> Recognised | None:
        """The first of its tags that we know, groups first."""
        tags = set(beacon.tags)
        for point in [*self._points.groups, *self._points.wanted]:
            advert, secret = self._keys[point]
            tag = _tag(advert, beacon.nonce)
            if tag in tags:
                return Recognised(tag, secret, self._points.wanted.get(point))
        return None

    def _consider(self, endpoint: Endpoint) -> None:
        """Dial an endpoint if it shows something we know and there is no session with it."""
        beacon = self._endpoints.get(endpoint)
        if beacon is None:
            return
        if self._is_covered(endpoint, beacon):
            self._ask_within(beacon)
            return
        if endpoint in self._dialling:
            return
        if self._shown and beacon.nonce in {shown.beacon.nonce for shown in self._shown}:
            return
        recognised = self._recognise(beacon)
        if recognised is None or self._tasks is None:
            return
        self._dialling.add(endpoint)
        self._tasks.start_soon(self._dial, endpoint, beacon, recognised)

    def _is_covered(self, endpoint: Endpoint, beacon: Beacon) -> bool:
        return any(
            session.endpoint == endpoint or (session.is_open and session.beacon_nonce == beacon.nonce)
            for session in self.sessions
        )

    def _ask_within(self, beacon: Beacon) -> None:
        """Whom we want to reach may be at the other end of a session that exists for another reason."""
        for point, contact in self._points.wanted.items():
            if _tag(self._keys[point][0], beacon.nonce) in beacon.tags:
                for session in self.sessions:
                    if session.is_open and session.beacon_nonce == beacon.nonce:
                        session.request(contact)

    # -- sessions ------------------------------------------------------------------------------

    async def _dial(self, endpoint: Endpoint, beacon: Beacon, recognised: Recognised) -> None:
        session = None
        try:
            await self._wait_for_turn(endpoint, beacon, recognised)
            if endpoint not in self._endpoints:
                return
            if self._is_covered(endpoint, beacon):
                self._ask_within(beacon)
                return
            link = await self._open_link(endpoint)
            if link is None:
                return
            host = self._host
            machine = Session.dial(
                self._shown[-1].identity,
                recognised.tag,
                recognised.secret,
                Secret(host.entropy(32)),
                host.monotonic(),
            )
            session = PeerSession(host, link, machine, endpoint=endpoint, wanted=recognised.wanted)
            await self._serve(session)
        finally:
            self._dialling.discard(endpoint)
        self._after(endpoint, session)

    async def _wait_for_turn(self, endpoint: Endpoint, beacon: Beacon, recognised: Recognised) -> None:
        """Backoff after failures; and of two that recognise each other, the smaller nonce dials first."""
        failures = self._failures.get(endpoint, 0)
        delay = 0.0 if not failures else min(MAX_BACKOFF, 2.0 ** (failures - 1)) * random.uniform(0.5, 1)  # noqa: S311
        if recognised.wanted is None and self._shown and self._shown[-1].beacon.nonce > beacon.nonce:
            delay += SECOND_DIALLER
        if any(session.is_open for session in self.sessions):
            delay = max(delay, RENAMED)
        await anyio.sleep(delay)

    async def _open_link(self, endpoint: Endpoint) -> Link | None:
        running = next((r for r in self.transports if r.spec.name == endpoint.transport), None)
        if running is None or running.transport is None or len(self.sessions) >= MAX_SESSIONS:
            return None
        self._decide(f"dialling {endpoint.address} over {endpoint.transport}")
        try:
            link = await running.transport.dial(endpoint)
        except (BertyError, OSError) as error:
            if endpoint in self._endpoints:
                self._failures[endpoint] = self._failures.get(endpoint, 0) + 1
            self._decide(f"could not reach {endpoint.address} over {endpoint.transport}: {error}")
            if self._tasks is not None:
                self._tasks.start_soon(self._consider_again, endpoint)
            return None
        return self._as_stream(link)

    def _as_stream(self, link: Link) -> Link:
        if self._tasks is None:
            raise LocalProtocolError("links come and go while the connectivity runs")
        return as_stream(link, self._host, self._tasks)

    async def _consider_again(self, endpoint: Endpoint) -> None:
        await anyio.lowlevel.checkpoint()
        self._consider(endpoint)

    def _after(self, endpoint: Endpoint, session: PeerSession | None) -> None:
        """A session with an endpoint that is still there has ended: try again, slower each time it did not work."""
        if session is None or endpoint not in self._endpoints:
            return
        worked = bool(session.handshake_hash) and bool(session.groups)
        self._failures[endpoint] = 1 if worked else self._failures.get(endpoint, 0) + 1
        self._consider(endpoint)

    def accept(self, link: Link) -> None:
        """A transport hands over a link that the other side opened."""
        if self._tasks is None or not self._shown or len(self.sessions) >= MAX_SESSIONS:
            if self._tasks is not None:
                self._tasks.start_soon(link.aclose)
            return
        host = self._host
        link = self._as_stream(link)
        if self.profiles:
            link = SortedLink(link, self._profile_for)
        machine = Session.accept(
            self._shown[-1].identity,
            self._secret_for_tag,
            self._guard,
            Secret(host.entropy(32)),
            host.monotonic(),
        )
        self._tasks.start_soon(self._serve, PeerSession(host, link, machine, is_link_tag=self._is_link_tag))

    def _is_link_tag(self, tag: bytes) -> bool:
        return any(shown.link_tag == tag for shown in self._shown)

    def _secret_for_tag(self, tag: bytes) -> Secret | None:
        return next((shown.secrets[tag] for shown in self._shown if tag in shown.secrets), None)

    async def _serve(self, session: PeerSession) -> None:
        self.sessions.append(session)
        try:
            await session.run()
        finally:
            self.sessions.remove(session)
            self._decide(f"session over {session.transport} ended: {session.closed_because}")
            self._reconsider(session)

    def _reconsider(self, session: PeerSession) -> None:
        """Endpoints that a session covered may be dialled again, after a pause."""
        for endpoint, beacon in list(self._endpoints.items()):
            if beacon is not None and beacon.nonce == session.beacon_nonce:
                self._failures[endpoint] = self._failures.get(endpoint, 0) or 1
                self._consider(endpoint)

    def session_changed(self, session: PeerSession) -> None:
        """Of two sessions with one device the same one stays on both sides.

        When both dialled at once, it is the one with the smaller hash. Later nobody dials who has a session: the other
        end has lost the old one, though nothing on this side tells so yet.
        """
        for beacon in self._endpoints.values():
            if session.is_open and beacon is not None and beacon.nonce == session.beacon_nonce:
                self._ask_within(beacon)
        for other in list(self.sessions):
            if other is session or not (other.is_open and session.is_open):
                continue
            if any(
                device is not None and device == other.groups.get(group) for group, device in session.groups.items()
            ):
                _worse(session, other).close("another session with this device is kept")

    def _decide(self, words: str) -> None:
        self.decisions.append(words)
        logger.info(words)


def _words(error: BaseException) -> str:
    """What went wrong first, however deep in groups of errors; those of this project are words already."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, BertyError) else f"{type(error).__name__}: {error}"


def _worse(one: PeerSession, other: PeerSession) -> PeerSession:
    if abs(one.opened_at - other.opened_at) > SIMULTANEOUS:
        return min(one, other, key=lambda either: either.opened_at)
    return max(one, other, key=lambda either: either.handshake_hash)


def _tag(key: Secret, nonce: bytes) -> bytes:
    return hmac_sha256(bytes(key), nonce)[:TAG_LENGTH]


def _point_keys(point: bytes) -> tuple[Secret, Secret]:
    return advert_key(point), session_secret(point)


class _TransportHost:
    """What one transport may use of the node."""

    def __init__(self, connectivity: Connectivity, running: RunningTransport, settings: DeviceSettings) -> None:
        host = connectivity._host
        self.logger = logging.getLogger(f"berty.transport.{running.spec.name}")
        self.now: Callable[[], float] = time.time
        self.monotonic: Callable[[], float] = host.monotonic
        self.entropy: Callable[[int], bytes] = host.entropy
        self.network_changes = connectivity.surroundings.changes
        self.setting, self.put_setting = settings.get, settings.put
        self._connectivity = connectivity
        self._running = running

    def network(self) -> Network:
        return self._connectivity.surroundings.network

    def accept(self, link: Link) -> None:
        self._connectivity.accept(link)

    def state(self, state: State, reasons: Sequence[str] = ()) -> None:
        was_active = self._running.state is State.ACTIVE
        self._running.state, self._running.reasons = state, tuple(reasons)
        if state is State.ACTIVE and not was_active:
            self._running.shown = None
            self._connectivity.refresh()
            self._connectivity.probe_all(self._running.spec.name)
