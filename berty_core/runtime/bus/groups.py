"""Speak to groups on one bus: joins the bus hub, which lives on the store's thread, to the medium.

Invariant: what waits to be said is bounded, and what a person waits for goes first.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from ...contracts.bus import Datagram, Priority
from ...contracts.traits import Traits
from ...errors import BudgetSpent, DeadlinePassed, LinkLost, MessageTooLarge
from ..drivers.airtime_queue import AirtimeQueue, Turn
from ..drivers.guarded_bus import GuardedBus
from ..sessions.sync_hub import SyncHub
from ..store_worker import StoreWorker
from .hub import BusHub, Outgoing

MAX_HEARD = 1024
BATCH = 64  # datagrams that are stored in one commit
SHORTEST_UNIT = 0.01  # seconds: below that a device computes longer than the medium carries
STALE = 128.0  # units after which repair and digests are not worth their airtime any more
GONE_FOR = 1.0  # seconds after which a medium that was gone is tried again

logger = logging.getLogger("berty.bus")


class BusHost(Protocol):
    """What a bus is given by its node."""

    store: StoreWorker
    hub: SyncHub
    entropy: Callable[[int], bytes]
    monotonic: Callable[[], float]


def unit_of(traits: Traits) -> float:
    """Seconds that a full datagram takes on a medium."""
    return max(SHORTEST_UNIT, traits.mtu * 8 / traits.bitrate + traits.latency)


class BusGroups:
    """The groups of a node on one bus of one transport."""

    def __init__(
        self, host: BusHost, transport: str, bus: GuardedBus, now: Callable[[], float], airtime: AirtimeQueue
    ) -> None:
        self._host = host
        self._bus = bus
        self._airtime = airtime
        self._now = now
        self._unit = unit_of(bus.traits)
        self._to_say: deque[tuple[Turn, Outgoing]] = deque()  # whose turn it is
        self._heard: list[bytes] = []
        self._some_to_say = anyio.Event()
        self._some_heard = anyio.Event()
        self._topics: dict[bytes | None, anyio.CancelScope] = {}
        self._tasks: TaskGroup | None = None
        self.dropped = 0
        self.hub = BusHub(
            host.hub.replica,
            transport,
            mtu=bus.traits.mtu,
            unit=self._unit,
            entropy=host.entropy,
            ready=self._ready,
            met=host.hub.met_elsewhere if bus.is_dear else None,
        )

    async def run(self) -> None:
        """Speak and listen until cancelled, or until the transport ends."""
        host = self._host
        await host.store.read(self._join)
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                if self._bus.traits.topics:
                    self._follow_topics()
                else:
                    self._listen_to(None)
                tasks.start_soon(self._store_what_is_heard)
                await self._say()
        finally:
            self._tasks = None
            host.store.post(self._leave)

    def _join(self) -> None:
        self._host.hub.buses.append(self.hub)
        self.hub.adjust(self._host.monotonic())

    def _leave(self) -> None:
        if self.hub in self._host.hub.buses:
            self._host.hub.buses.remove(self.hub)

    # -- listening -----------------------------------------------------------------------------

    def _follow_topics(self) -> None:
        """Listen to the groups that are open, and to no others."""
        wanted: set[bytes | None] = set(self.hub.topics)
        for topic in set(self._topics) - wanted:
            self._topics.pop(topic).cancel()
        for topic in wanted - set(self._topics):
            self._listen_to(topic)

    def _listen_to(self, topic: bytes | None) -> None:
        if self._tasks is not None:
            self._topics[topic] = anyio.CancelScope()
            self._tasks.start_soon(self._listen, topic, self._topics[topic])

    async def _listen(self, topic: bytes | None, scope: anyio.CancelScope) -> None:
        with scope:
            await self._bus.listen(topic, self.hear)

    def hear(self, datagram: Datagram) -> None:
        """Keep a datagram until it is stored; the oldest are lost where they come too fast."""
        self._heard.append(datagram.data)
        if len(self._heard) > MAX_HEARD:
            del self._heard[0]
            self.dropped += 1
        self._some_heard.set()

    async def _store_what_is_heard(self) -> None:
        host = self._host
        while True:
            await self._some_heard.wait()
            batch, self._heard = self._heard[:BATCH], self._heard[BATCH:]
            if not self._heard:
                self._some_heard = anyio.Event()
            await host.store.write(self.hub.receive, batch, host.monotonic())

    # -- speaking ------------------------------------------------------------------------------

    def _ready(self, outgoing: list[Outgoing]) -> None:
        now = self._now()
        self.hub.topics_changed = False
        if self._bus.traits.topics:
            self._follow_topics()
        for one in outgoing:
            self._put(one, now)

    def _put(self, one: Outgoing, now: float) -> None:
        """What a person waits for goes whenever it may; the rest is not worth its airtime for long."""
        deadline = math.inf if one.priority is Priority.INTERACTIVE else now + STALE * self._unit
        told = partial(self._told, one)
        self._airtime.ask(Turn(len(one.data), one.priority, ("bus", one.topic), told, deadline))
        self._some_to_say.set()

    def _told(self, one: Outgoing, turn: Turn) -> None:
        if turn.may_go:
            self._to_say.append((turn, one))
            self._some_to_say.set()
        else:
            self.dropped += 1

    @property
    def waiting(self) -> int:
        """Bytes that wait to be said."""
        return self._airtime.size

    def silence(self) -> str:
        """Why nothing is said now, in words; empty: it is."""
        if reason := self._bus.refusal():
            return reason
        return f"it {words}" if (words := self._airtime.words()) else ""

    async def _say(self) -> None:
        while True:
            self._some_to_say = anyio.Event()
            self._airtime.serve()
            while self._to_say:
                turn, outgoing = self._to_say.popleft()
                try:
                    await self._publish(outgoing)
                finally:
                    self._airtime.leave(turn)
            with anyio.move_on_after(self._airtime.due_in):
                await self._some_to_say.wait()

    async def _publish(self, outgoing: Outgoing) -> None:
        deadline = None if outgoing.priority is Priority.INTERACTIVE else self._now() + STALE * self._unit
        topic = outgoing.topic if self._bus.traits.topics else None
        try:
            await self._bus.publish(outgoing.data, topic=topic, priority=outgoing.priority, deadline=deadline)
        except (DeadlinePassed, MessageTooLarge):
            self.dropped += 1
        except BudgetSpent:  # its budget knows more by now
            self._airtime.refused()
            self._put(outgoing, self._now())
        except LinkLost as error:
            logger.info("the bus is gone for now: %s", error)
            self.dropped += 1
            await anyio.sleep(GONE_FOR)
        else:
            self._airtime.went()
            if outgoing.message is not None:
                self._host.store.post(partial(self.hub.sent, *outgoing.message, self._host.monotonic()))
