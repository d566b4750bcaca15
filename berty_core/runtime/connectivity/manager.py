"""The connectivity manager: what runs, what is shown, who is dialled, and which session with a device is kept.

A shell that joins its rooms: supervision, adverts, dialling, kept sessions. Every decision is kept with its words.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Protocol

import anyio
from anyio.abc import TaskGroup, TaskStatus

from ...contracts.network import NetworkWatcher
from ...contracts.session import ProfileHost, SessionProfile, SessionSpec
from ...contracts.traits import Network
from ...contracts.transport import (
    Beacon,
    EndpointFound,
    EndpointLost,
    Link,
    State,
    Transport,
    TransportHost,
    TransportSpec,
)
from ...crypto.keys import Secret
from ...ids import GroupId
from ...protocol.ranking import Candidate, Policy, Situation
from ...protocol.session import MAGIC, ReplayGuard, Session
from ..bus.on_bus import OnBusSpec
from ..decisions import Decisions, Kind
from ..device_settings import DeviceSettings
from ..drivers.guarded_link import GuardedLink
from ..drivers.running import RunningProfile, RunningTransport
from ..drivers.severable import within
from ..drivers.supervision import Supervisor
from ..drivers.transport_host import NodeTransportHost
from ..drivers.usage import Usage
from ..replica.replica import Points
from ..sessions.datagram_stream import as_stream
from ..sessions.first_byte import SortedLink
from ..sessions.peer_session import PeerSession, SessionHost
from ..surroundings.network_watch import NetworkWatch
from ..surroundings.surroundings import Surroundings
from .adverts import ROTATION, Adverts
from .dialling import MAX_SESSIONS, Dialling
from .kept_sessions import KeptSessions
from .link_beacons import AskedLink

MAX_MET = 256
DEBOUNCE = 0.05
ADVERTISE_LIMIT = 10.0
KEEP_USAGE = 10  # seconds after which what was used of quotas is written down at the latest


class ConnectivityHost(SessionHost, Protocol):
    """What the connectivity is given by its node."""

    profile_name: str
    now: Callable[[], float]

    async def points(self) -> Points:
        """Where to meet."""

    def settings(self, name: str) -> DeviceSettings:
        """What a transport keeps in the home."""

    def profile_host(self, name: str, said: Callable[[State, tuple[str, ...]], None]) -> ProfileHost:
        """What a session profile may use of the node; `said` is told what it says of itself."""


class Connectivity:
    """Which transports run, who is near, and with whom there is a session."""

    def __init__(
        self,
        host: ConnectivityHost,
        transports: Sequence[tuple[TransportSpec, Callable[[], Transport]]],
        profiles: Sequence[tuple[SessionSpec, SessionProfile]] = (),
        *,
        prefer: Sequence[str] = (),
        policies: Mapping[str, Policy] | None = None,
        watchers: Sequence[NetworkWatcher] = (),
    ) -> None:
        self._host = host
        self.monotonic = host.monotonic
        self.prefer = prefer
        self.decisions = Decisions(host.now)
        self.met: dict[bytes, frozenset[GroupId]] = {}  # by the nonce of the peer's advert: groups of ended sessions
        self.surroundings = Surroundings()
        self.transports = [self._make(spec, make, (policies or {}).get(spec.name)) for spec, make in transports]
        self.profiles = [RunningProfile(spec, profile) for spec, profile in profiles]
        self.adverts = Adverts(host.entropy, host.profile_name)
        self.kept = KeptSessions(self)
        self.dialling = Dialling(host, self, self.adverts, self.kept)
        self._watch = NetworkWatch(watchers, self.surroundings, self.decisions)
        self._supervisor = Supervisor(self, host.monotonic)
        self._guard = ReplayGuard()  # one for all periods: a tag outlives the one it was shown in
        self._changed = anyio.Event()
        self._tasks: TaskGroup | None = None

    def _make(self, spec: TransportSpec, make: Callable[[], Transport], policy: Policy | None) -> RunningTransport:
        policy = policy or Policy()
        usage = Usage(policy, self._host.settings(f"quota of {spec.name}"), self._host.now)
        running = RunningTransport(spec, make, policy, usage, self._tell_fault, self._host.monotonic)
        if isinstance(spec, OnBusSpec):
            spec.keeper = running
        return running

    @property
    def sessions(self) -> list[PeerSession]:
        """The live sessions."""
        return self.kept.all

    # -- life ----------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run all transports and profiles until cancelled; one that fails starts again alone, with growing pauses."""
        for running in self.transports:
            await running.usage.load()
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                self.dialling.start(tasks)
                for running in self.transports:
                    tasks.start_soon(self._supervisor.keep_transport, running)
                for profile in self.profiles:
                    tasks.start_soon(self._supervisor.keep_profile, profile)
                tasks.start_soon(self._advertise)
                tasks.start_soon(self._follow_network)
                tasks.start_soon(self._watch.run)
                tasks.start_soon(self._keep_usage)
                tasks.start_soon(self._supervisor.watch_loop)
                task_status.started()
                await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for running in self.transports:
                    await running.usage.keep()

    def transport_started(self, running: RunningTransport) -> None:
        """Show ourselves on it, and dial what it finds."""
        self._changed.set()

    def transport_ended(self, running: RunningTransport) -> None:
        """Nobody is to be found on it any more."""
        self.dialling.endpoints.forget(running.name)

    def found(self, running: RunningTransport, event: EndpointFound | EndpointLost) -> None:
        """A transport reported something."""
        self.dialling.take(event)

    def transport_host(self, running: RunningTransport) -> TransportHost:
        """What one start of a transport may use of the node."""
        settings = self._host.settings(running.name)
        return NodeTransportHost(self, running, settings, self._host.monotonic, self._host.entropy, self._host.now)

    def transport_active(self, running: RunningTransport) -> None:
        """A transport can be used (again): its network may be another one."""
        running.shown = None
        self.refresh()
        self.probe_all(running.name)

    def profile_host(self, running: RunningProfile) -> ProfileHost:
        """What a profile may use of the node."""
        return self._host.profile_host(running.name, running.said)

    def _profile_for(self, first: int) -> SessionProfile | None:
        """The profile that a link belongs to whose first byte is this one; None: the private one."""
        for running in self.profiles:
            if running.started and first != MAGIC and first in running.spec.first_bytes:
                return running.profile
        return None

    def _tell_fault(self, name: str, words: str) -> None:
        self.decisions.add(Kind.FAULT, f"the driver of {name} broke its contract: {words}", transport=name)

    # -- surroundings and quotas ---------------------------------------------------------------

    def situation(self) -> Situation:
        """What is known of the surroundings, as far as ranking needs it."""
        network = self.surroundings.network
        return Situation(
            online=network.online,
            metered=network.metered,
            charging=network.charging,
            battery=network.battery,
            foreground=network.foreground,
        )

    async def _follow_network(self) -> None:
        before = self.surroundings.network
        async with self.surroundings.changes() as changes:
            async for network in changes:
                self._take_network(before, network)
                before = network

    def _take_network(self, before: Network, network: Network) -> None:
        """What is to rest rests; where the paths are others, sessions are probed and dials made without waiting."""
        self.decisions.add(Kind.NETWORK, f"the surroundings changed: {network_words(before, network)}")
        self._supervisor.situation_changed()
        paths = [(one.online, one.interfaces, one.kind, one.bluetooth) for one in (before, network)]
        if paths[0] != paths[1]:
            self.kept.forget_declined()
            for session in self.kept:
                session.probe()
            self.dialling.try_all_now()
        else:
            self.dialling.consider_all()

    async def _keep_usage(self) -> None:
        told: dict[str, tuple[str, ...]] = {}
        for second in count(1):
            await anyio.sleep(1)
            for running in self.transports:
                if running.usage.wants_keeping or not second % KEEP_USAGE:
                    await running.usage.keep()
                spent = running.usage.spent()
                if spent != told.get(running.name, ()):
                    words = f"is used up ({', '.join(spent)})" if spent else "has something left again"
                    self.decisions.add(Kind.QUOTA, f"the quota of {running.name} {words}", transport=running.name)
                    self.dialling.consider_all()
                told[running.name] = spent

    # -- showing ourselves ---------------------------------------------------------------------

    def refresh(self) -> None:
        """The points changed: show the new ones, and offer new groups on live sessions."""
        self._changed.set()

    async def _advertise(self) -> None:
        rotate = True
        while True:
            self._changed = anyio.Event()
            await self._show(rotate)
            for session in self.kept:
                session.offer_groups()
            rotate = True
            with anyio.move_on_after(ROTATION * random.uniform(0.8, 1.2)):  # noqa: S311  spread in time
                await self._changed.wait()
                await anyio.sleep(DEBOUNCE)
                rotate = False

    async def _show(self, rotate: bool) -> None:
        """Show our points; under the same beacon while they are the same and the period is not over."""
        rooms = [running.spec.traits.beacon_bytes for running in self.transports]
        if self.adverts.take(await self._host.points(), rooms, rotate=rotate):
            self.dialling.endpoints.ask_again()
            for session in self.kept:  # before others see it, or they take us for somebody else
                session.change_beacon(self.adverts.present.beacon.nonce)
        async with anyio.create_task_group() as tasks:
            for running in self.transports:
                tasks.start_soon(self._show_on, running, self.adverts.present.beacon)
        self.dialling.consider_all()

    async def _show_on(self, running: RunningTransport, beacon: Beacon) -> None:
        if not running.started or running.transport is None or running.shown == beacon:
            return
        if not running.spec.traits.beacon_bytes:
            return
        running.shown = beacon
        try:
            await within(ADVERTISE_LIMIT, running.transport.advertise(beacon))
        except TimeoutError:
            running.fault(f"advertise() did not end within {ADVERTISE_LIMIT:g} s")
        except Exception as error:  # a plugin may raise anything; it is named, and the others go on
            running.fault(f"advertise() raised {type(error).__name__}: {error}")

    # -- sessions ------------------------------------------------------------------------------

    def accept_from(self, running: RunningTransport, link: Link) -> None:
        """A transport hands over a link, which was looked at."""
        guarded: Link = GuardedLink(link, running)
        if self._tasks is not None:
            guarded = as_stream(guarded, self._host, self._tasks, self.dialling.ways.links_airtime_of(running.name))
        if link.initiator:
            self.dialling.meet(guarded)
        else:
            running.pending += 1
            self.accept(guarded, running)

    def drop(self, running: RunningTransport, link: Link) -> None:
        """Close a link that is not taken."""
        if self._tasks is not None:
            self._tasks.start_soon(GuardedLink(link, running).aclose)

    def accept(self, link: Link, running: RunningTransport | None = None) -> None:
        """Begin a session as the one who was dialled."""
        if self._tasks is None or not self.adverts.shown or len(self.kept) >= MAX_SESSIONS:
            if running is not None:
                running.pending -= 1
            if self._tasks is not None:
                self._tasks.start_soon(link.aclose)
            return
        host = self._host
        asked = AskedLink(link, partial(self._beacon_on, running), self.dialling.meet_known)
        sorted_link: Link = SortedLink(asked, self._profile_for) if self.profiles else asked
        machine = Session.accept(
            self.adverts.present.identity,
            self.adverts.secret_for_tag,
            self._guard,
            Secret(host.entropy(32)),
            host.monotonic(),
        )
        airtime = self.dialling.ways.airtime_of(link.remote.transport)
        session = PeerSession(host, sorted_link, machine, is_link_tag=self.adverts.is_link_tag, airtime=airtime)
        self._tasks.start_soon(self._serve_accepted, session, running)

    def _beacon_on(self, running: RunningTransport | None) -> Beacon | None:
        """What who asks on a link is told: nothing where the medium shows adverts, to those who may see them."""
        shows = running is not None and running.spec.traits.discovers and running.spec.traits.beacon_bytes
        return None if shows else self.adverts.present.beacon

    async def _serve_accepted(self, session: PeerSession, running: RunningTransport | None) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._until_settled, session, running)
            await self.serve(session)

    async def _until_settled(self, session: PeerSession, running: RunningTransport | None) -> None:
        await session.settled.wait()
        if running is not None:
            running.pending = max(0, running.pending - 1)

    async def serve(self, session: PeerSession) -> None:
        """Keep a session until it ends."""
        self.kept.all.append(session)
        try:
            await session.run()
        finally:
            session.settled.set()
            self._remember(session)
            self.kept.ended(session)
            words = f"session over {session.transport} ended: {session.closed_because}"
            self.decisions.add(Kind.SESSION, words, transport=session.transport, peer=session.beacon_nonce)
            self.dialling.session_ended(session)

    def _remember(self, session: PeerSession) -> None:
        self.met.pop(session.beacon_nonce, None)
        self.met[session.beacon_nonce] = frozenset(session.groups)
        if len(self.met) > MAX_MET:
            del self.met[next(iter(self.met))]

    def session_changed(self, session: PeerSession) -> None:
        """A session opened, met a group, changed its beacon, is drained, or ended."""
        if session.is_open:
            self.dialling.renamed(session)
            self.dialling.ask_within(session.beacon_nonce)
        if self._tasks is not None:
            self.kept.changed(session, self._tasks)

    def session_doubted(self, session: PeerSession) -> None:
        """A session leaves what was sent without an answer, or gives one again."""
        nonce, is_doubted = session.beacon_nonce, session.life.doubted_since is not None
        words = "leaves what was sent without an answer: the next way is tried" if is_doubted else "answers again"
        self.decisions.add(
            Kind.SESSION, f"the session over {session.transport} {words}", transport=session.transport, peer=nonce
        )
        if is_doubted:
            self.dialling.reach_urgently(nonce)
        self.session_changed(session)

    def probe_all(self, transport: str) -> None:
        """A transport's network changed: each of its sessions may be dead without knowing."""
        for session in self.kept:
            if session.transport == transport:
                session.probe()

    def candidate_of(self, session: PeerSession) -> Candidate:
        """What a session goes over."""
        return self.dialling.ways.candidate_of(session)


def network_words(before: Network, network: Network) -> str:
    """What is different, in words."""
    changes = []
    for name in ("online", "kind", "metered", "bluetooth", "charging", "foreground"):
        was, now = getattr(before, name), getattr(network, name)
        if was != now:
            changes.append(f"{name} is {now if isinstance(now, str) else ('yes' if now else 'no')}")
    if before.interfaces != network.interfaces:
        changes.append(f"interfaces are {', '.join(sorted(network.interfaces)) or 'none'}")
    if before.battery != network.battery:
        changes.append("no battery" if network.battery is None else f"the battery is at {network.battery:.0%}")
    return ", ".join(changes)
