"""Transports and session profiles are started, watched, and started again, each alone.

Invariant: whatever a plugin does in its tasks, it costs that plugin and nothing else. What blocks the event loop is the
exception: it can only be noticed.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

import anyio
from anyio.abc import TaskStatus

from ...contracts.session import ProfileHost
from ...contracts.transport import (
    NONCE_LENGTH,
    TAG_LENGTH,
    Beacon,
    EndpointFound,
    EndpointLost,
    LinkTransport,
    State,
    Transport,
    TransportHost,
)
from ...errors import BertyError
from ...protocol.ranking import Candidate, Situation, costs_money, pauses
from ..bus.on_bus import OnBus
from ..decisions import Decisions, Kind
from .airtime_queue import AirtimeQueue
from .guarded_link import endpoint_fault
from .running import DriverFault, RunningProfile, RunningTransport, medium_of
from .severable import Severable, see_end

START_LIMIT = 30.0  # seconds in which a plugin has to say that it started
RESTARTS = (2.0, 5.0, 15.0, 30.0, 60.0)  # seconds of rest after each failure; after the last one it is an hour
LAST_RESORT = 3600.0
STEADY = 600.0  # seconds of running after which earlier failures count no longer
EVENTS_AT_ONCE, EVENTS_A_SECOND = 2048, 200.0  # what a discovery may report
LAG_CHECK, MAX_LAG = 0.5, 1.0
MAX_TAGS = 1024  # of a beacon

logger = logging.getLogger("berty.connectivity")


class Watched(Protocol):
    """Whoever uses the transports."""

    decisions: Decisions

    def transport_started(self, running: RunningTransport) -> None:
        """It may be used from now on."""

    def transport_ended(self, running: RunningTransport) -> None:
        """Its endpoints and links are gone."""

    def found(self, running: RunningTransport, event: EndpointFound | EndpointLost) -> None:
        """Its discovery reported something, which was looked at."""

    def situation(self) -> Situation:
        """What is known of the surroundings."""

    def transport_host(self, running: RunningTransport) -> TransportHost:
        """What the driver may use of the node."""

    def profile_host(self, running: RunningProfile) -> ProfileHost:
        """What the profile may use of the node."""


class Supervisor:
    """Keeps plugins running."""

    def __init__(self, watched: Watched, monotonic: Callable[[], float]) -> None:
        self._watched = watched
        self._monotonic = monotonic
        self._situation_changed = anyio.Event()

    def situation_changed(self) -> None:
        """Stop what is to rest now, and start what has to rest no longer."""
        self._situation_changed.set()
        self._situation_changed = anyio.Event()

    # -- transports ----------------------------------------------------------------------------

    async def keep_transport(self, running: RunningTransport) -> None:
        """Run a transport for ever, with rests."""
        while True:
            await self._until_wanted(running)
            began = self._monotonic()
            reason = await self._run_once(running)
            running.started, running.transport = False, None
            self._watched.transport_ended(running)
            if reason:
                await self._rest(running, reason, self._monotonic() - began)

    def pauses(self, running: RunningTransport) -> tuple[str, ...]:
        """Why a transport is not to run now. One with a bus costs by listening alone."""
        medium, situation = medium_of(running.spec.traits), self._watched.situation()
        reasons = pauses(medium, running.policy, situation)
        candidate = Candidate(transport=running.name, address="", medium=medium)
        if running.spec.traits.broadcast and running.policy.metered == "never" and costs_money(candidate, situation):
            reasons += ("it costs money, which its settings forbid (metered)",)
        return reasons

    async def _until_wanted(self, running: RunningTransport) -> None:
        told: tuple[str, ...] = ()
        while reasons := self.pauses(running):
            running.state, running.reasons = State.PAUSED, reasons
            if reasons != told:
                self._say(Kind.TRANSPORT, f"{running.name} rests: {'; '.join(reasons)}", running.name)
            told = reasons
            await self._situation_changed.wait()
        if told:
            self._say(Kind.TRANSPORT, f"{running.name} is started again", running.name)
        running.state, running.reasons = State.STARTING, ()

    async def _run_once(self, running: RunningTransport) -> str:
        """Run it until it fails, or is to rest; why it failed."""
        running.shown, running.broken, running.pending = None, "", 0
        reason = ""
        with anyio.CancelScope() as running.scope:
            try:
                await self._drive(running)
            except* Exception as errors:  # a plugin may raise anything; the node goes on without it
                reason = words_of(errors)
                logger.debug("%s failed", running.name, exc_info=True)
        if running.broken or reason:
            return running.broken or reason
        return "" if self.pauses(running) else "it was stopped"

    async def _drive(self, running: RunningTransport) -> None:
        host = self._watched.transport_host(running)
        calls: list[Severable[None]] = []
        async with anyio.create_task_group() as tasks:
            transport = running.make()
            running.transport = cast(LinkTransport, transport)
            self._give_turns(running, transport, host)
            tasks.start_soon(self._stop_when_it_rests, running)
            try:
                with anyio.fail_after(START_LIMIT):
                    await tasks.start(partial(self._run_driver, transport, host, calls))
                running.started = True
                self._watched.transport_started(running)
                if running.spec.traits.discovers:
                    calls.append(Severable(self._follow(running)))
                    await calls[-1]
                await anyio.sleep_forever()
            except TimeoutError:
                raise DriverFault(f"it did not say within {START_LIMIT:g} s that it started") from None
            finally:
                running.started = False
                tasks.cancel_scope.cancel()
                await see_end(calls)

    def _give_turns(self, running: RunningTransport, transport: Transport, host: TransportHost) -> None:
        """One queue for all that this start of it sends."""
        traits = running.spec.traits
        tell = partial(self._tell_of_wait, running)
        airtime = AirtimeQueue(mtu=traits.mtu, now=host.now, budget=running.budget, quota=running, tell=tell)
        running.airtime, running.paces_links = airtime, traits.budgeted
        if isinstance(transport, OnBus):
            transport.airtime = airtime
            running.paces_links = traits.budgeted and not transport.has_paced_links

    def _tell_of_wait(self, running: RunningTransport, words: str) -> None:
        self._say(Kind.QUOTA, f"{running.name} {words}", running.name)

    async def _run_driver(
        self,
        transport: Transport,
        host: TransportHost,
        calls: list[Severable[None]],
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        calls.append(Severable(transport.run(host, task_status=task_status)))
        await calls[-1]
        raise DriverFault("its run() ended by itself")

    async def _stop_when_it_rests(self, running: RunningTransport) -> None:
        while not self.pauses(running):
            await self._situation_changed.wait()
        running.scope.cancel()

    async def _follow(self, running: RunningTransport) -> None:
        """Take in what its discovery reports, as fast as is sensible."""
        left, at = float(EVENTS_AT_ONCE), self._monotonic()
        if running.transport is None:
            return
        async with running.transport.discover() as found:
            async for event in found:
                now = self._monotonic()
                left, at = min(EVENTS_AT_ONCE, left + (now - at) * EVENTS_A_SECOND) - 1, now
                if left < 0:
                    raise DriverFault(f"its discovery reports more than {EVENTS_A_SECOND:g} changes a second")
                if words := _event_fault(event, running.name):
                    running.fault(words)
                else:
                    self._watched.found(running, event)
        raise DriverFault("its discovery ended by itself")

    # -- profiles ------------------------------------------------------------------------------

    async def keep_profile(self, running: RunningProfile) -> None:
        """Run a session profile for ever, with rests."""
        while True:
            began = self._monotonic()
            reason = "it ended by itself"
            try:
                await self._run_profile(running)
            except* Exception as errors:
                reason = words_of(errors)
                logger.debug("%s failed", running.name, exc_info=True)
            running.started = False
            await self._rest(running, reason, self._monotonic() - began)

    async def _run_profile(self, running: RunningProfile) -> None:
        async with anyio.create_task_group() as tasks:
            with anyio.fail_after(START_LIMIT):
                await tasks.start(partial(running.profile.run, self._watched.profile_host(running)))
            running.started = True

    # -- both ----------------------------------------------------------------------------------

    async def _rest(self, running: RunningTransport | RunningProfile, reason: str, lasted: float) -> None:
        running.failures = 1 if lasted > STEADY else running.failures + 1
        delay = rest_after(running.failures) * random.uniform(0.75, 1)  # noqa: S311  jitter
        running.state, running.reasons = State.FAILED, (reason,)
        running.retry_at = self._monotonic() + delay
        self._say(
            Kind.TRANSPORT, f"{running.name} failed ({reason}); it is started again in {delay:.0f} s", running.name
        )
        await anyio.sleep(delay)
        running.state, running.reasons, running.retry_at = State.STARTING, (), None

    async def watch_loop(self) -> None:
        """Say so when something kept the event loop from running: nobody can tell who it was."""
        while True:
            began = self._monotonic()
            await anyio.sleep(LAG_CHECK)
            lag = self._monotonic() - began - LAG_CHECK
            if lag > MAX_LAG:
                self._say(
                    Kind.TRANSPORT, f"something held up the whole node for {lag:.1f} s: a plugin, or the machine", ""
                )

    def _say(self, kind: Kind, words: str, transport: str) -> None:
        self._watched.decisions.add(kind, words, transport=transport)


def rest_after(failures: int) -> float:
    """Seconds of rest before the start that follows so many failures: growing to a minute, then an hour."""
    return RESTARTS[failures - 1] if failures <= len(RESTARTS) else LAST_RESORT


def _event_fault(event: object, name: str) -> str:
    if not isinstance(event, EndpointFound | EndpointLost):
        return f"its discovery gave {type(event).__name__}"
    if words := endpoint_fault(event.endpoint, name):
        return words
    return _beacon_fault(event) if isinstance(event, EndpointFound) else ""


def _beacon_fault(event: EndpointFound) -> str:
    beacon: object = event.beacon
    if beacon is None:
        return ""
    if not isinstance(beacon, Beacon) or not isinstance(beacon.nonce, bytes) or len(beacon.nonce) != NONCE_LENGTH:
        return "it gave a beacon without a nonce of 8 bytes"
    if not isinstance(beacon.tags, tuple) or len(beacon.tags) > MAX_TAGS:
        return f"it gave a beacon whose tags are no tuple of at most {MAX_TAGS}"
    if any(not isinstance(tag, bytes) or len(tag) != TAG_LENGTH for tag in beacon.tags):
        return "it gave a beacon with a tag that has not 8 bytes"
    return ""


def words_of(error: BaseException) -> str:
    """What went wrong first, however deep in groups of errors; those of this project are words already."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, BertyError | DriverFault) else f"{type(error).__name__}: {error}"
