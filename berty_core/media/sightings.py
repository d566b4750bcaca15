"""Who is there, and who wants to know: what `discover` streams, for the drivers of any medium.

Invariant: for a listener who does not read, at most one event per endpoint waits, and the newest is kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
from anyio.abc import ObjectReceiveStream

from ..contracts.transport import Beacon, Endpoint, EndpointFound, EndpointLost

Event = EndpointFound | EndpointLost


class Listener(ObjectReceiveStream[Event]):
    """Events of one listener."""

    def __init__(self) -> None:
        self._waiting: dict[Endpoint, Event] = {}
        self._told: set[Endpoint] = set()
        self._ended = False
        self._changed = anyio.Event()

    def put(self, event: Event) -> None:
        """Keep an event in place of an older one; what came and went unread is not told."""
        self._waiting.pop(event.endpoint, None)
        if isinstance(event, EndpointFound) or event.endpoint in self._told:
            self._waiting[event.endpoint] = event
        self._changed.set()

    def end(self) -> None:
        """Let `receive` end once all is read."""
        self._ended = True
        self._changed.set()

    async def receive(self) -> Event:
        """The next event; anyio.EndOfStream once the transport has stopped."""
        await anyio.lowlevel.checkpoint()
        while not self._waiting:
            if self._ended:
                raise anyio.EndOfStream
            self._changed = anyio.Event()
            await self._changed.wait()
        event = self._waiting.pop(next(iter(self._waiting)))
        if isinstance(event, EndpointFound):
            self._told.add(event.endpoint)
        else:
            self._told.discard(event.endpoint)
        return event

    async def aclose(self) -> None:
        """Stop listening."""
        self._waiting.clear()
        self.end()
        await anyio.lowlevel.checkpoint()


class Sightings:
    """The endpoints that are there now, with their beacons."""

    def __init__(self) -> None:
        self.present: dict[Endpoint, Beacon | None] = {}
        self._listeners: list[Listener] = []

    def found(self, endpoint: Endpoint, beacon: Beacon | None) -> None:
        """An endpoint is there, or shows something else; told once."""
        if endpoint in self.present and self.present[endpoint] == beacon:
            return
        self.present[endpoint] = beacon
        self._tell(EndpointFound(endpoint, beacon))

    def lost(self, endpoint: Endpoint) -> None:
        """An endpoint is gone."""
        if endpoint in self.present:
            del self.present[endpoint]
            self._tell(EndpointLost(endpoint))

    def lose_all(self) -> None:
        """The medium is gone."""
        for endpoint in list(self.present):
            self.lost(endpoint)

    def end(self) -> None:
        """End every stream: the transport stops."""
        self.lose_all()
        for listener in self._listeners:
            listener.end()

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[ObjectReceiveStream[Event]]:
        """Stream what is there: first what is known already, then each change."""
        listener = Listener()
        for endpoint, beacon in self.present.items():
            listener.put(EndpointFound(endpoint, beacon))
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)
            listener.end()

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            listener.put(event)
