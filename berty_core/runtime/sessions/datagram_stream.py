"""A datagram link as a stream link: the pump that joins a stream machine to the link's datagrams and the clock.

Invariant: when the stream is closed or lost, so is the link under it, and nobody waits any more. While a datagram waits
for airtime the machine's clock stands still: what the law forbids is no silence of the other end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import anyio
import anyio.lowlevel
import attrs
from anyio.abc import TaskGroup

from ...contracts.transport import Link, Priority, Traits
from ...errors import BertyError, BudgetSpent, EndOfStream, LinkLost
from ...protocol.arq.stream import ReliableStream
from ...protocol.arq.tuning import Tuning
from ...protocol.fragments import Fragments
from ..drivers.airtime_queue import AirtimeQueue

CLOSING = 1.0  # seconds that `aclose` waits for the other end to confirm that it has everything
LINGERING = 10.0  # seconds for which the pump goes on trying behind its back
DRIVER_TIME = 2.0  # seconds that a driver may take to close its link
SHORTEST = 0.001  # seconds between two looks at the clock
SHORT = 48  # bytes of a datagram that may be an acknowledgement, and costs nearly nothing
A_TEXT, AN_ANSWER = 4096, 65536  # bytes since the stream was idle: up to here somebody waits for it; above, history


class StreamHost(Protocol):
    """Clock and entropy."""

    monotonic: Callable[[], float]
    entropy: Callable[[int], bytes]


def as_stream(link: Link, host: StreamHost, tasks: TaskGroup, airtime: AirtimeQueue | None = None) -> Link:
    """Give a link as a stream; one that is a stream already as it is.

    The pump runs in `tasks`, and ends with the link; its errors are the link's. `airtime` is the transport's where its
    airtime is limited.
    """
    if link.traits.stream:
        return link
    stream = DatagramStream(link, host, airtime)
    tasks.start_soon(stream.run)
    return stream


def machine_for(traits: Traits, initiator: bool, host: StreamHost, wait: float = 0.0) -> ReliableStream | Fragments:
    """Choose by traits, which are the same at both ends; `wait`: seconds that an end may wait for airtime."""
    if traits.reliable and traits.ordered:
        return Fragments(mtu=traits.mtu)
    tuning = Tuning.for_medium(
        mtu=traits.mtu,
        bitrate=traits.bitrate,
        latency=traits.latency,
        half_duplex=traits.half_duplex,
        ordered=traits.ordered,
        wait=wait,
    )
    return ReliableStream(initiator=initiator, tuning=tuning, entropy=host.entropy, now=host.monotonic())


class DatagramStream:
    """A stream link over a datagram link. `run` must be under way."""

    def __init__(self, link: Link, host: StreamHost, airtime: AirtimeQueue | None = None) -> None:
        self.traits = attrs.evolve(link.traits, stream=True, mtu=0, reliable=True, ordered=True)
        self.remote, self.initiator = link.remote, link.initiator
        self._link = link
        self._monotonic = host.monotonic
        self._held = 0.0  # seconds that were waited for airtime
        self._held_since: float | None = None
        self._airtime = airtime
        self._putting = anyio.CancelScope()
        self._gone = 0  # bytes since the stream was idle
        wait = airtime.longest_wait if airtime is not None else 0.0
        self._machine = machine_for(link.traits, link.initiator, host, wait)
        self._changed = anyio.Event()  # for those who send and receive
        self._woken = anyio.Event()  # for the pump
        self._ended = anyio.Event()
        self._closed = False
        self._closed_at = math.inf
        self._lost = ""
        self._pump = anyio.CancelScope()

    # -- the link ------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Hand over bytes; returns when there is room for more. LinkLost."""
        await anyio.lowlevel.checkpoint()
        while True:
            self._check()
            if self._machine.has_ended:
                raise LinkLost("the other end closed the link")
            if self._machine.is_idle:
                self._gone = 0
            if taken := self._machine.push(data, self._now()):
                self._woken.set()
            data = data[taken:]
            if not data:
                return
            await self._changed.wait()

    async def receive(self) -> bytes:
        """The next bytes, at least one. EndOfStream, LinkLost."""
        await anyio.lowlevel.checkpoint()
        while True:
            if self._closed:
                self._check()
            if data := self._machine.read(self._now()):
                self._woken.set()  # the window is open again
                self._tell()
                return data
            if self._machine.has_ended:
                raise EndOfStream("the other end closed the link")
            self._check()
            await self._changed.wait()

    def _check(self) -> None:
        if self._closed:
            raise LinkLost("the link was closed here")
        if self._lost:
            raise LinkLost(self._lost)

    async def aclose(self) -> None:
        """Close; idempotent; who waits gets LinkLost.

        Waits a second at most for what was sent to arrive; the pump goes on for a while. Cancelled, it ends at once.
        """
        if not self._closed:
            self._closed = True
            self._closed_at = self._now()
            self._machine.finish()
            self._putting.deadline = anyio.current_time() + LINGERING
            self._woken.set()
            self._tell()
        try:
            with anyio.move_on_after(CLOSING):
                await self._ended.wait()
        except BaseException:  # cancelled, by whichever event loop: the pump must not outlive that; it is raised again
            self._pump.cancel()
            with anyio.move_on_after(2 * DRIVER_TIME, shield=True):
                await self._ended.wait()
            raise

    # -- the pump ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry bytes until the stream is closed or lost; raises nothing."""
        try:
            with self._pump:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._listen)
                    await self._talk()
                    tasks.cancel_scope.cancel()
        except* Exception as errors:  # a driver may raise anything; it costs this link and nothing else
            self._lost = _words(errors)
        finally:
            self._lost = self._lost or "the link was closed here"
            self._tell()
            with anyio.move_on_after(DRIVER_TIME, shield=True):
                await self._close_link()
            self._ended.set()

    async def _close_link(self) -> None:
        try:
            await self._link.aclose()
        except Exception as error:  # the same: whoever closes a link is not told of a driver's troubles
            self._lost = self._lost or str(error)

    async def _listen(self) -> None:
        while True:
            while self._machine.is_full:
                await self._changed.wait()
            try:
                datagram = await self._link.receive()
            except EndOfStream:
                if self._machine.has_ended:
                    return
                raise LinkLost("the medium ended the link before the other end closed it") from None
            self._machine.receive(datagram, self._now())
            self._woken.set()
            self._tell()

    async def _talk(self) -> None:
        machine = self._machine
        while True:
            self._woken = anyio.Event()
            machine.wake(self._now())
            while (datagram := machine.take(self._now())) is not None:
                await self._put(datagram)
            self._tell()
            if machine.is_lost:
                raise LinkLost(machine.reason)
            if self._is_over():
                return
            with anyio.move_on_after(max(self._due() - self._now(), SHORTEST)):
                await self._woken.wait()

    # -- airtime -------------------------------------------------------------------------------

    def _now(self) -> float:
        """The machine's time."""
        return (self._monotonic() if self._held_since is None else self._held_since) - self._held

    def _hold(self) -> None:
        if self._held_since is None:
            self._held_since = self._monotonic()

    def _go_on(self) -> None:
        if self._held_since is not None:
            self._held += self._monotonic() - self._held_since
            self._held_since = None

    async def _put(self, datagram: bytes) -> None:
        """Send a datagram, once there is airtime; not much later than the stream is closed."""
        if not self._link.traits.budgeted:
            await self._link.send(datagram)
            return
        closing = anyio.current_time() + LINGERING if self._closed else math.inf
        self._hold()
        try:
            with anyio.CancelScope(deadline=closing) as self._putting:
                await self._in_turn(datagram)
        finally:
            self._go_on()
        if self._putting.cancelled_caught:
            raise LinkLost("it was closed before there was airtime for the rest")
        self._gone += len(datagram)

    async def _in_turn(self, datagram: bytes) -> None:
        if self._airtime is None:  # the link waits itself
            await self._link.send(datagram)
        else:
            await self._airtime.send(lambda: self._try(datagram), len(datagram), self._priority(datagram), self)

    async def _try(self, datagram: bytes) -> None:
        self._go_on()
        try:
            await self._link.send(datagram)
        except BudgetSpent:
            self._hold()
            raise

    def _priority(self, datagram: bytes) -> Priority:
        """Acknowledgements, handshakes and what is said after a pause go first, long transfers last."""
        if len(datagram) <= SHORT or self._gone <= A_TEXT:
            return Priority.INTERACTIVE
        return Priority.REPAIR if self._gone <= AN_ANSWER else Priority.BACKGROUND

    def _due(self) -> float:
        due = self._machine.timeout()
        return min(math.inf if due is None else due, self._closed_at + LINGERING)

    def _is_over(self) -> bool:
        """Whether all is said that the other end may still want to hear."""
        if not self._closed:
            return False
        return self._machine.is_done or self._machine.has_ended or self._now() >= self._closed_at + LINGERING

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def _words(errors: BaseExceptionGroup[BaseException]) -> str:
    """The first error's own words."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, BertyError) else f"the driver failed: {type(error).__name__}: {error}"
