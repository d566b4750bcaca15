"""The contract of a bus: a medium on which everybody in range hears every datagram (LoRa, pubsub, multicast).

What is said on a bus is sealed by the core and named by nobody; a driver neither reads nor repeats it.
"""

from __future__ import annotations

import enum
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import attrs
from anyio.abc import ObjectReceiveStream

from .traits import Traits


class Priority(enum.IntEnum):
    """What goes first where not everything can go now; the smaller the sooner."""

    INTERACTIVE = 0  # a person waits for it
    REPAIR = 1  # somebody asked for it, or it stops others from asking
    BACKGROUND = 2  # beacons, history


@attrs.frozen
class Endpoint:
    """Where a peer may be reached on one transport. The address means something to that transport only."""

    transport: str
    address: str


@attrs.frozen
class Datagram:
    """What was heard. `source`, where the medium tells it, is an endpoint that `dial` may take; it is a mere claim."""

    data: bytes = attrs.field(repr=False)
    source: Endpoint | None = None


class Budget(Protocol):
    """How much airtime a transport may use: `limit` seconds in any `window` seconds, restarts included.

    `berty_core.protocol.airtime.AirtimeLedger` is one that a driver can use as it is.
    """

    limit: float
    window: float

    def airtime(self, size: int) -> float:
        """Seconds that a datagram of `size` bytes takes on the air."""

    def left(self, now: float) -> float:
        """Seconds of airtime that may be used at `now` (Unix seconds)."""

    def allowed_at(self, size: int, now: float) -> float:
        """The earliest time, `now` or later, at which a datagram of `size` bytes may go out; inf: never."""


class Bus(Protocol):
    """Broadcast datagrams of 1 to `traits.mtu` bytes, loss, order and repetition as the traits say."""

    traits: Traits

    async def publish(self, data: bytes, *, topic: bytes | None, priority: Priority, deadline: float | None) -> None:
        """Put one datagram on the air; returns once the medium has taken it.

        `topic` (1 to 64 bytes) is None where the traits have no topics. `deadline` (Unix seconds): not later.
        Nothing is sent after LocalProtocolError (an empty datagram, a topic that cannot be), MessageTooLarge,
        DeadlinePassed and BudgetSpent; LinkLost when the medium is gone.
        """

    def subscribe(self, topic: bytes | None) -> AbstractAsyncContextManager[ObjectReceiveStream[Datagram]]:
        """Hear what others publish from now on, never what this device published itself.

        Memory is bounded: who listens too slowly misses the oldest. Ends when the transport stops.
        """
