"""A poor medium in one process: datagram links that lose, repeat, reorder and delay what they carry, by a seed.

Invariant: the fate of the n-th datagram of a direction depends on the seed alone, and a datagram arrives whole or not
at all.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import attrs
from anyio.abc import TaskStatus

from ..contracts.transport import Budget, Endpoint, Traits, TransportHost
from ..errors import BudgetSpent, LinkLost, LocalProtocolError, MessageTooLarge
from ..protocol.airtime import AirtimeLedger, serial_airtime
from .memory_pipe import Direction
from .memory_transport import MemoryLink, MemoryNetwork, MemoryTransport, join

ROOM = 64  # datagrams under way in one direction; who sends more waits
TRAITS = Traits(
    stream=False,
    mtu=233,
    reliable=False,
    ordered=False,
    bitrate=100_000_000,
    latency=0.0,
    beacon_bytes=1000,
    backends=frozenset({"asyncio", "trio"}),
)


class MemoryDatagrams(MemoryNetwork):
    """A medium of datagram links that transports share; register it as a plugin as a `MemoryNetwork`.

    `loss`, `duplication` and `reorder` are probabilities, `delay` (s) is what each datagram takes, and one that is
    reordered takes up to `spread` (s) more; all may be changed at any time, and loss 1 is silence. With `tells_end` a
    closed end is seen at the other one, as EndOfStream; without, as on a radio, nobody tells. With `budget` each
    transport may send so many seconds (at the bitrate of the traits) in so many, and keeps that over restarts; with
    `refuses_more` it refuses one datagram in so many although its budget allows it.
    """

    def __init__(
        self,
        name: str = "datagrams",
        *,
        traits: Traits = TRAITS,
        seed: int = 0,
        loss: float = 0.0,
        duplication: float = 0.0,
        reorder: float = 0.0,
        delay: float = 0.0,
        spread: float = 0.02,
        tells_end: bool = True,
        budget: tuple[float, float] | None = None,
        refuses_more: int = 0,
    ) -> None:
        super().__init__(name, latency=delay)
        if traits.stream or (traits.reliable and loss) or (traits.ordered and reorder):
            raise LocalProtocolError("these traits promise what the medium is told to break")
        if traits.reliable and traits.ordered and duplication:
            raise LocalProtocolError("what is reliable and ordered comes once")
        self.traits = attrs.evolve(traits, budgeted=budget is not None)
        self.budget = budget
        self.refuses_more = refuses_more
        self.sent: list[tuple[MemoryTransport, float, int]] = []  # with a budget: by whom, when (Unix seconds), bytes
        self.seed = seed
        self.loss, self.duplication, self.reorder, self.spread = loss, duplication, reorder, spread
        self.tells_end = tells_end
        self._directions = 0

    def create(self) -> MemoryTransport:
        """Make a transport on it that is not running yet."""
        return MemoryTransport(self) if self.budget is None else MeteredTransport(self, self.budget)

    def _open(self, endpoint: Endpoint) -> tuple[MemoryLink, MemoryLink]:
        return join(self.name, endpoint, self._direction(), self._direction(), self.traits)

    def _direction(self) -> Direction:
        self._directions += 1
        return Flight(self, random.Random(f"{self.seed} {self._directions}"))  # noqa: S311  chance that can be repeated


class MeteredTransport(MemoryTransport):
    """One transport whose airtime is limited."""

    def __init__(self, network: MemoryDatagrams, budget: tuple[float, float]) -> None:
        super().__init__(network)
        self._medium = network
        self._limits = budget
        self._ledger: AirtimeLedger | None = None
        self._asked = 0

    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Take up what was used before, and be on the network."""
        kept = await host.setting("airtime")
        limit, window = self._limits
        cost = serial_airtime(self._medium.traits.bitrate)
        self._ledger = AirtimeLedger(limit, window, cost, bytes(kept) if kept else b"", monotonic=host.monotonic)
        await super().run(host, task_status=task_status)

    def budget(self) -> Budget:
        """What may be sent; LocalProtocolError before it runs."""
        if self._ledger is None:
            raise LocalProtocolError("this transport does not run yet")
        return self._ledger

    def keep(self, link: MemoryLink) -> None:
        """What this end of a link sends is charged."""
        super().keep(link)
        if isinstance(link.outgoing, Flight):
            link.outgoing.charge = self._charge

    async def _charge(self, size: int) -> None:
        """Use airtime, and write that down before the datagram leaves. BudgetSpent."""
        host, ledger = self._host, self._ledger
        if host is None or ledger is None:
            raise LinkLost("this transport does not run")
        self._asked += 1
        is_stubborn = self._medium.refuses_more and self._asked % self._medium.refuses_more == 0
        if is_stubborn or not ledger.take(size, host.now()):
            raise BudgetSpent("the airtime of this window is used up")
        self._medium.sent.append((self, host.now(), size))
        await host.put_setting("airtime", ledger.dump())


class Flight(Direction):
    """Datagrams under way in one direction of a link."""

    def __init__(self, medium: MemoryDatagrams, chance: random.Random) -> None:
        super().__init__()
        self.sent = self.lost = 0  # datagrams that were put in, and those of them that never come out
        self.bytes_sent = 0
        self.charge: Callable[[int], Awaitable[None]] | None = None
        self._medium = medium
        self._chance = chance
        self._flying: list[tuple[float, int, bytes]] = []
        self._copies = 0

    async def put(self, data: bytes) -> None:
        """Send one datagram of 1 to mtu bytes; waits for room. MessageTooLarge, LinkLost."""
        if len(data) > self._medium.traits.mtu:
            raise MessageTooLarge(f"{len(data)} bytes, where a datagram takes {self._medium.traits.mtu}")
        if not data:
            raise LocalProtocolError("a datagram has at least one byte")
        await anyio.lowlevel.checkpoint()
        while self.is_open and len(self._flying) >= ROOM and not self._abandoned:
            await self._changed.wait()
        if self.is_open and self.charge is not None:
            await self.charge(len(data))
        if not self.is_open:
            raise LinkLost(self._broken or "the link was closed here")
        self._launch(bytes(data))

    def _launch(self, data: bytes) -> None:
        self.sent += 1
        self.bytes_sent += len(data)
        dues = self._fate()
        self.lost += not dues
        for due in dues:
            self._copies += 1
            heapq.heappush(self._flying, (due, self._copies, data))
        self._pass(1)

    def _fate(self) -> list[float]:
        """When the copies of a datagram arrive; always the same number of draws, whatever the probabilities are."""
        medium = self._medium
        lost, twice, *late = (self._chance.random() for _ in range(6))
        if lost < medium.loss or self._abandoned:
            return []
        arrival = anyio.current_time() + medium.latency
        copies = 2 if twice < medium.duplication else 1
        return [
            arrival + (late[2 * n + 1] * medium.spread if late[2 * n] < medium.reorder else 0.0) for n in range(copies)
        ]

    async def get(self) -> bytes:
        """The datagram that arrives next, empty at the end; LinkLost."""
        await anyio.lowlevel.checkpoint()
        while not self._abandoned:
            if self._flying and not self._stalled:
                wait = self._flying[0][0] - anyio.current_time()
                if wait <= 0:
                    return self._land()
                with anyio.move_on_after(wait):
                    await self._changed.wait()
            elif self._broken:
                raise LinkLost(self._broken)
            elif self._ended and self._medium.tells_end and not self._stalled:
                return b""
            else:
                await self._changed.wait()
        raise LinkLost(self._abandoned)

    def _land(self) -> bytes:
        data = heapq.heappop(self._flying)[2]
        self._change()
        return data

    def abandon(self, reason: str) -> None:
        """The receiver is done; the sender finds that out where the medium tells."""
        self._flying.clear()
        if self._medium.tells_end:
            super().abandon(reason)
        else:
            self._abandoned = self._abandoned or reason
            self._change()
