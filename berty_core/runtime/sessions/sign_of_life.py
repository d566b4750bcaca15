"""Whether the other end of a link is still there: what is sent has to be answered by something, and soon.

Invariant: a link on which nothing was sent is never doubted.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from ...contracts.traits import Traits

ANSWER_LIMIT = 0.9  # seconds within which anything has to come back, on a link without latency of its own
PING_AFTER = 0.35  # of that time, after which a sign of life is asked for: a peer may have nothing else to say
ROUND_TRIPS = 4.0  # latencies of the medium that an answer may take besides
LATE = 0.3  # seconds by which this process may have been held up itself; then its own clock proves nothing


class SignOfLife:
    """Watches one session."""

    def __init__(
        self,
        traits: Traits,
        monotonic: Callable[[], float],
        ask: Callable[[], None],
        changed: Callable[[], None],
        is_held: Callable[[], bool] = lambda: False,
    ) -> None:
        self.heard_at = monotonic()
        self.doubted_since: float | None = None
        self._traits = traits
        self._monotonic = monotonic
        self._ask = ask
        self._changed = changed
        self._is_held = is_held  # whether what is to be sent waits for airtime
        self._unanswered = 0  # bytes
        self._sent = anyio.Event()
        self._heard = anyio.Event()

    def sends(self, count: int) -> None:
        """Bytes that say something are about to go out; an answer to a ping wants no answer."""
        self._unanswered += count
        self._sent.set()

    def heard(self) -> None:
        """Bytes came in."""
        self.heard_at = self._monotonic()
        self._unanswered = 0
        if self._sent.is_set():
            self._sent = anyio.Event()
        self._heard.set()
        self._heard = anyio.Event()
        if self.doubted_since is not None:
            self.doubted_since = None
            self._changed()

    async def wait_heard(self) -> None:
        """Wait for the next bytes."""
        await self._heard.wait()

    @property
    def patience(self) -> float:
        """Seconds that the present silence may last."""
        return ANSWER_LIMIT + ROUND_TRIPS * self._traits.latency + 2 * 8 * self._unanswered / self._traits.bitrate

    async def watch(self) -> None:
        """Doubt the link each time that what is sent stays without an answer."""
        while True:
            await self._sent.wait()
            if not self._unanswered:  # the answer was faster than this task
                continue
            if await self._is_answered_within(self.patience * PING_AFTER):
                continue
            self._ask()
            if await self._is_answered_within(self.patience * (1 - PING_AFTER)):
                continue
            self.doubted_since = self._monotonic()
            self._changed()
            await self._heard.wait()

    async def _is_answered_within(self, seconds: float) -> bool:
        """Whether anything came; where this end was held up, or is, the peer has the same time again."""
        heard = self._heard
        while not heard.is_set():
            deadline = self._monotonic() + seconds
            with anyio.move_on_after(seconds):
                await heard.wait()
            if heard.is_set() or (self._monotonic() < deadline + LATE and not self._is_held()):
                break
        return heard.is_set()
