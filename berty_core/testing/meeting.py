"""What the checks of a transport share: its devices on a stage, how two of them meet, and how they get a link.

Invariant: nothing here asks for a medium's name: what is done follows from the traits alone.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio

from ..contracts.transport import (
    NONCE_LENGTH,
    TAG_LENGTH,
    Beacon,
    Endpoint,
    EndpointFound,
    EndpointLost,
    Link,
    Priority,
    Traits,
    Transport,
    TransportSpec,
)
from .conformance import Verdict
from .rules import NotApplicable, Suite
from .stage import Running, Stage, open_stage
from .talk import WAIT, Pair, greet, repeating

MOST_TAGS = 100


class TransportChecks(Suite):
    """The one thing that an author writes is `open_pair`; `spec` says the rest."""

    contract = "transport"
    spec: TransportSpec
    verdict: Verdict

    def open_pair(self) -> AbstractAsyncContextManager[Sequence[Any]]:
        """Give the configurations of two devices (or three) that can reach each other, as long as the block lasts.

        Each is a value of `spec.config`; from one configuration the suite makes several transports, one after another.
        """
        raise NotImplementedError

    def create(self, config: Any) -> Transport:
        """Make a transport that is not running yet. Override it where the medium is not named by the configuration."""
        return self.spec.create(config)

    async def cut(self) -> None:
        """Take the medium away: pull the cable, leave the network. Override it, and `mend`, if that can be done."""
        raise NotApplicable("no `cut` and `mend` in the suite")

    async def mend(self) -> None:
        """Bring the medium back."""
        raise NotApplicable("no `cut` and `mend` in the suite")

    @property
    def can_cut(self) -> bool:
        """Whether the author says how to take the medium away."""
        return type(self).cut is not TransportChecks.cut

    @property
    def traits(self) -> Traits:
        """What the transport promises."""
        return self.spec.traits

    @classmethod
    def backends(cls) -> Sequence[str]:
        """Those that the traits declare."""
        return sorted(cls.spec.traits.backends)

    @classmethod
    def traits_or_none(cls) -> Traits | None:
        """What the transport promises."""
        return cls.spec.traits

    @classmethod
    def shown_title(cls) -> str:
        """The transport's name."""
        return cls.title or cls.spec.name

    @property
    def limit(self) -> float:
        """Seconds after which a check is taken to hang."""
        return super().limit + 2 * max(1.0, self.patience) * (self.traits.lost_after + self.traits.dial_timeout)

    # On the stage

    @asynccontextmanager
    async def stage(self, devices: int = 2) -> AsyncIterator[Stage]:
        """The devices, with nothing running; the rule is skipped if there are too few."""
        async with self.open_pair() as configs:
            if len(configs) < devices:
                raise NotApplicable(f"no {devices} devices: `open_pair` gave {len(configs)}")
            async with open_stage(self, list(configs)) as stage:
                yield stage

    @asynccontextmanager
    async def running(self, count: int = 2) -> AsyncIterator[list[Running]]:
        """The first devices, each with a transport that runs."""
        async with self.stage(count) as stage:
            yield await stage.start_all(count)

    def beacon(self, tags: int = 1) -> Beacon:
        """A beacon that nobody has shown before, with as many tags, or as many as fit."""
        room = (self.traits.beacon_bytes - NONCE_LENGTH) // TAG_LENGTH
        return Beacon(
            os.urandom(NONCE_LENGTH), tuple(os.urandom(TAG_LENGTH) for _ in range(max(0, min(tags, room, MOST_TAGS))))
        )

    @property
    def shows_beacons(self) -> bool:
        """Whether `advertise` can show something."""
        return self.traits.beacon_bytes >= NONCE_LENGTH

    async def show(self, running: Running, beacon: Beacon | None) -> None:
        """Advertise, at most so long; nothing where the medium does not show anybody."""
        if not self.traits.discovers:
            return
        await self.soon(running.links.advertise(beacon), "`advertise` did not return")

    async def meet(self, seeker: Running, shown: Running) -> Endpoint:
        """Let one find the other."""
        if not self.traits.discovers:
            return await self._meet_on_bus(seeker, shown)
        beacon = self.beacon()
        await self.show(shown, beacon)
        async with seeker.links.discover() as events:
            return await self.find(events, beacon if self.shows_beacons else None)

    async def _meet_on_bus(self, seeker: Running, shown: Running) -> Endpoint:
        """Where nothing is discovered, whoever is heard on the bus can be dialled."""
        bus, other = await seeker.broadcast.bus(), await shown.broadcast.bus()
        topic = b"meeting" if bus.traits.topics else None
        marker = os.urandom(16)

        async def publish() -> None:
            await other.publish(marker, topic=topic, priority=Priority.BACKGROUND, deadline=None)

        async with bus.subscribe(topic) as heard:
            async with repeating(publish, self.patience, reliable=other.traits.reliable):
                with anyio.move_on_after(self.patience * (WAIT + self.traits.latency)):
                    while (datagram := await heard.receive()).data != marker:
                        pass
                    if datagram.source is not None:
                        return datagram.source
                    raise AssertionError("what is heard on the bus has no source, so that nobody can be dialled")
        raise AssertionError("the other device was not heard on the bus")

    async def find(self, events: Any, beacon: Beacon | None) -> Endpoint:
        """Read until an endpoint is found that shows this beacon (None: any endpoint)."""
        seen: list[str] = []
        with anyio.move_on_after(self.patience * (WAIT + self.traits.latency)):
            while True:
                event = await events.receive()
                if isinstance(event, EndpointFound) and (beacon is None or event.beacon == beacon):
                    return event.endpoint
                seen.append(type(event).__name__)
        raise AssertionError(
            f"the other device was not found in {WAIT * self.patience:g} s; events: {seen[:9] or 'none'}"
        )

    async def lose(self, events: Any, endpoint: Endpoint, seconds: float = WAIT) -> None:
        """Read until an endpoint is lost."""
        with anyio.move_on_after(self.patience * seconds):
            while await events.receive() != EndpointLost(endpoint):
                pass
            return
        raise AssertionError(
            f"{endpoint.address!r} is gone, and was not reported lost in {seconds * self.patience:g} s"
        )

    async def connect(self, one: Running, other: Running) -> Pair:
        """Open a link between two that run: the first dials, or, where the medium connects by itself, either."""
        if not self.traits.dials:
            return await self._connected_by_itself(one, other)
        return await self.dial(one, other, await self.meet(one, other))

    async def dial(self, one: Running, other: Running, endpoint: Endpoint) -> Pair:
        """Dial, and take the other end from `accept`."""
        taken = len(other.host.links)
        near = await self.soon(one.links.dial(endpoint), "`dial` did not return", self.traits.dial_timeout)

        async def accepted() -> Link:
            return await self._accepted(other, taken)

        return Pair(near, await greet(near, accepted, self.patience))

    async def _connected_by_itself(self, one: Running, other: Running) -> Pair:
        await self.show(one, self.beacon())
        await self.show(other, self.beacon())
        link, remote = await self._accepted(one, one.used), await self._accepted(other, other.used)
        one.used, other.used = one.used + 1, other.used + 1
        near, far = (link, other) if link.initiator else (remote, one)

        async def accepted() -> Link:
            return await self._accepted(far, far.used - 1)

        return Pair(near, await greet(near, accepted, self.patience))

    async def _accepted(self, running: Running, index: int) -> Link:
        """The link that came up after so many others."""
        with anyio.move_on_after(self.patience * (WAIT + self.traits.latency)):
            while len(running.host.links) <= index:
                await running.host.changed()
            return running.host.links[index]
        raise AssertionError("no link came out of `accept` at the other device")

    @asynccontextmanager
    async def pair(self) -> AsyncIterator[Pair]:
        """A link between two devices."""
        async with self.running() as (one, other):
            yield await self.connect(one, other)

    async def soon(self, operation: Any, words: str, seconds: float = WAIT) -> Any:
        """Await, at most so many seconds times the patience."""
        with anyio.move_on_after(seconds * self.patience):
            return await operation
        raise self.verdict.broken(AssertionError(f"{words} within {seconds * self.patience:g} s"))
