"""The endpoints that are known, and who wants to hear of them.

Invariant: memory is bounded by the limit on endpoints, whatever strangers announce and however slowly somebody reads.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import attrs
from anyio.abc import ObjectReceiveStream

from berty_core.contracts.transport import Beacon, Endpoint, EndpointFound, EndpointLost
from berty_core.media import Sightings

MAX_ENDPOINTS = 1000


@attrs.frozen
class Entry:
    """One endpoint: what it shows, where it can be dialled, and until when that is believed."""

    beacon: Beacon
    targets: tuple[tuple[str, int], ...]
    until: float


class Directory:
    """Endpoints by address, at most 1000: newcomers beyond that wait until others leave."""

    def __init__(self, transport: str, limit: int = MAX_ENDPOINTS) -> None:
        self._transport = transport
        self.limit = limit
        self._entries: dict[str, Entry] = {}
        self._sightings = Sightings()

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
        self._sightings.found(self._endpoint(address), entry.beacon)
        return True

    def drop(self, address: str) -> None:
        """Forget an endpoint, if it is known."""
        if self._entries.pop(address, None) is not None:
            self._sightings.lost(self._endpoint(address))

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

    def subscribe(self) -> AbstractAsyncContextManager[ObjectReceiveStream[EndpointFound | EndpointLost]]:
        """Lend a stream of what is known already, then of each change; the newest alone where nobody reads."""
        return self._sightings.listen()

    def close(self) -> None:
        """Forget everything and end all subscriptions."""
        self.drop_all()
        self._sightings.end()

    def _endpoint(self, address: str) -> Endpoint:
        return Endpoint(self._transport, address)
