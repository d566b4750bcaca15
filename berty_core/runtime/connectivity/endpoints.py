"""Who may be reached where, as transports claim it. Invariant: at most `MAX_ENDPOINTS`, `MAX_ALIKE` to a peer."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterator

import attrs

from ...contracts.transport import Beacon, Endpoint

MAX_ENDPOINTS = 2048
MAX_ALIKE = 16  # endpoints that show one nonce
MAX_BACKOFF = 60.0
ASK_AGAIN = 120.0  # seconds after which an endpoint that showed nothing we know is asked again what it shows


@attrs.define(eq=False)
class Near:
    """An endpoint. `asked`: its beacon is the answer to a question on a link, not an advert."""

    endpoint: Endpoint
    beacon: Beacon | None
    failures: int = 0
    not_before: float = 0.0  # by the monotonic clock
    asked: bool = False


class Endpoints:
    """All endpoints that transports report, the newest last."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._near: OrderedDict[Endpoint, Near] = OrderedDict()
        self._by_nonce: dict[bytes, dict[Endpoint, Near]] = {}
        self._monotonic = monotonic

    def __iter__(self) -> Iterator[Near]:
        return iter(list(self._near.values()))

    def __contains__(self, endpoint: object) -> bool:
        return endpoint in self._near

    def get(self, endpoint: Endpoint) -> Near | None:
        """What is known of an endpoint that is there."""
        return self._near.get(endpoint)

    def of(self, nonce: bytes) -> list[Near]:
        """All that show an advert with this nonce."""
        return list(self._by_nonce.get(nonce, {}).values())

    def found(self, endpoint: Endpoint, beacon: Beacon | None) -> Near:
        """It is there; what it failed before still counts, unless it shows another advert."""
        near = self._near.get(endpoint)
        if near is None:
            near = self._near[endpoint] = Near(endpoint, None)
            self.shows(near, beacon)
            if len(self._near) > MAX_ENDPOINTS:
                self.lost(next(iter(self._near)))
        elif beacon is not None and beacon != near.beacon:
            self.shows(near, beacon)
            near.not_before = 0.0
        return near

    def shows(self, near: Near, beacon: Beacon | None, *, asked: bool = False) -> None:
        """What an endpoint shows, or answered when it was asked; None: that is not known (any longer)."""
        if near.beacon is not None:
            others = self._by_nonce.get(near.beacon.nonce, {})
            others.pop(near.endpoint, None)
            if not others:
                self._by_nonce.pop(near.beacon.nonce, None)
        near.beacon, near.asked = beacon, asked
        if beacon is not None and self._near.get(near.endpoint) is near:
            alike = self._by_nonce.setdefault(beacon.nonce, {})
            alike[near.endpoint] = near
            if len(alike) > MAX_ALIKE:
                self.lost(next(iter(alike)))

    def lost(self, endpoint: Endpoint) -> Near | None:
        """It is there no longer."""
        near = self._near.get(endpoint)
        if near is not None:
            beacon = near.beacon
            self.shows(near, None)
            near.beacon = beacon
            del self._near[endpoint]
        return near

    def forget(self, transport: str) -> None:
        """A transport ended, and with it all that it reported."""
        for endpoint in [endpoint for endpoint in self._near if endpoint.transport == transport]:
            self.lost(endpoint)

    def failed(self, near: Near) -> None:
        """It could not be used: it rests for up to 1, 2, 4, ... `MAX_BACKOFF` seconds."""
        near.failures += 1
        self._rest(near)

    def rests_once(self, near: Near) -> None:
        """It worked, and its session ended: it rests a little before the next one."""
        near.failures = 1
        self._rest(near)

    def _rest(self, near: Near) -> None:
        delay = min(MAX_BACKOFF, 2.0 ** (near.failures - 1)) * random.uniform(0.5, 1)  # noqa: S311  jitter
        near.not_before = self._monotonic() + delay

    def ask_later(self, near: Near) -> None:
        """What it shows is nothing we know: leave it alone for long."""
        near.not_before = self._monotonic() + ASK_AGAIN

    def ask_again(self) -> None:
        """We look for others, or have shown others: whoever showed nothing that we know may now."""
        for near in self._near.values():
            if near.beacon is None and not near.failures:
                near.not_before = 0.0

    def try_all_now(self) -> None:
        """The network changed: what failed before says nothing any more."""
        for near in self._near.values():
            near.failures, near.not_before = 0, 0.0
