"""Have a driver dial: within its time, and whatever comes of it. Invariant: at most `MAX_DIALS` at once."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import anyio

from ...contracts.transport import Endpoint, Link
from ...errors import BertyError
from ..decisions import Kind
from ..drivers.guarded_link import GuardedLink, link_fault
from ..drivers.running import RunningTransport
from ..drivers.severable import within
from .endpoints import Endpoints, Near
from .ways import Chooser, Ways

MAX_DIALS = 8
MAX_DIAL_TIME = 300.0


class LinkOpener:
    """Opens links to endpoints."""

    def __init__(self, endpoints: Endpoints, ways: Ways, chooser: Chooser) -> None:
        self._endpoints = endpoints
        self._ways = ways
        self._chooser = chooser
        self._limiter = anyio.CapacityLimiter(MAX_DIALS)

    async def open(self, near: Near, nonce: bytes) -> Link | None:
        """Dial an endpoint; None if that failed, which is told and counted."""
        running = self._ways.running(near.endpoint.transport)
        if running is None or running.transport is None or not running.started:
            self._endpoints.failed(near)
            return None
        try:
            async with self._limiter:
                return await self._dial(running, near.endpoint)
        except (BertyError, OSError) as error:
            self._endpoints.failed(near)
            words = f"could not reach {near.endpoint.address} over {near.endpoint.transport}: {error}"
            self._chooser.decisions.add(Kind.DIAL, words, transport=near.endpoint.transport, peer=nonce)
            return None

    async def _dial(self, running: RunningTransport, endpoint: Endpoint) -> Link:
        """Let the driver dial; whatever else than a link or an expected error comes of it is the driver's fault."""
        limit = min(running.spec.traits.dial_timeout, MAX_DIAL_TIME)
        dial: Coroutine[Any, Any, Link] = running.transport.dial(endpoint)  # type: ignore[union-attr]
        try:
            link = await within(1.1 * limit, dial)
        except (BertyError, ConnectionError):
            raise
        except Exception as error:  # a driver may raise anything; it is named
            is_late = isinstance(error, TimeoutError)
            words = (
                f"dial() did not end within {limit:g} s"
                if is_late
                else f"dial() raised {type(error).__name__}: {error}"
            )
            running.fault(words)
            raise BertyError(f"its driver broke the rules: {words}") from error
        if words := link_fault(link, running.name, dialled=True):
            running.fault(words)
            raise BertyError(f"its driver broke the rules: {words}")
        return GuardedLink(link, running)
