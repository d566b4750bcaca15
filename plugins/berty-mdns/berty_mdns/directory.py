"""The endpoints that are known, and who wants to hear of them.

Invariant: memory is bounded by the limit on endpoints, whatever strangers announce and however slowly somebody reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import attrs
from anyio.abc import ObjectReceiveStream

from berty_core.contracts.transport import Beacon, Endpoint, EndpointFound, EndpointLost

MAX_ENDPOINTS = 1000
Event = EndpointFound | EndpointLost


@attrs.frozen
class Entry:
    """One endpoint: what it shows, where it can be dialled, and until when that is believed."""

    beacon: Beacon
    targets: tuple[tuple[str, int], ...]
    until: float


class Subscription(ObjectReceiveStream[Event]):
    """Events of one subscriber. Only the newest per endpoint waits, and none of one that came and went unread."""

    def __init__(self) -> None:
        self._pending: dict[Endpoint, Event] = {}
        self._told: set[Endpoint] = set()
        self._wake = anyio.Event()
        self._ended = False

    def push(self, event: Event) -> None:
        """Queue an event; never blocks."""
        self._pending.pop(event.endpoint, None)
        if isinstance(event, EndpointFound) or event.endpoint in self._told:
            self._pending[event.endpoint] = event
        self._wake.set()

    def end(self) -> None:
        """Let `receive` end once everything is read."""
        self._ended = True
        self._wake.set()

    async def receive(self) -> Event:
        """The next event; anyio.EndOfStream once the transport has stopped."""
        await anyio.lowlevel.checkpoint()
        while not self._pending:
            if self._ended:
                raise anyio.EndOfStream
            self._wake = anyio.Event()
            await self._wake.wait()
        event = self._pending.pop(next(iter(self._pending)))
        if isinstance(event, EndpointFound):
            self._told.add(event.endpoint)
        else:
            self._told.discard(event.endpoint)
        return event

    async def aclose(self) -> None:
        """Stop listening."""
        self._pending.clear()
        self.end()


class Directory:
    """Endpoints by address, at most 1000: newcomers beyond that wait until others leave."""

    def __init__(self, transport: str, limit: int = MAX_ENDPOINTS) -> None:
        self._transport = transport
        self.limit = limit
        self._entries: dict[str, Entry] = {}
        self._subscriptions: set[Subscription] = set()

    def __contains__(self, address: str) -> bool:
        return address in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, address: str, entry: Entry) -> bool:
        """Add or change an endpoint; False when there is no room. Subscribers hear of a new or changed beacon."""
        known = self._entries.get(address)
        if known is None and len(self._entries) >= self.limit:
            return False
        self._entries[address] = entry
        if known is None or known.beacon != entry.beacon:
            self._tell(EndpointFound(self._endpoint(address), entry.beacon))
        return True

    def drop(self, address: str) -> None:
        """Forget an endpoint, if it is known."""
        if self._entries.pop(address, None) is not None:
            self._tell(EndpointLost(self._endpoint(address)))

    def drop_all(self) -> None:
        """Forget everything."""
        for address in list(self._entries):
            self.drop(address)

    def targets(self, address: str) -> tuple[tuple[str, int], ...]:
        """Where an endpoint can be dialled: pairs of IP address and TCP port; empty if it is not known."""
        entry = self._entries.get(address)
        return () if entry is None else entry.targets

    def doubt_all(self, until: float) -> None:
        """Believe nothing beyond `until` unless it is seen again."""
        for address, entry in self._entries.items():
            self._entries[address] = attrs.evolve(entry, until=min(until, entry.until))

    def due(self, now: float) -> list[str]:
        """The endpoints whose time has run out."""
        return [address for address, entry in self._entries.items() if entry.until <= now]

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Lend a stream of what is known already, then of each change."""
        subscription = Subscription()
        for address, entry in self._entries.items():
            subscription.push(EndpointFound(self._endpoint(address), entry.beacon))
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            subscription.end()

    def close(self) -> None:
        """Forget everything and end all subscriptions."""
        self.drop_all()
        for subscription in self._subscriptions:
            subscription.end()

    def _endpoint(self, address: str) -> Endpoint:
        return Endpoint(self._transport, address)

    def _tell(self, event: Event) -> None:
        for subscription in self._subscriptions:
            subscription.push(event)
