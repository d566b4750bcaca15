"""The stage of a check: the devices of one `open_pair`, each with a transport that is started and stopped.

Invariant: when a stage closes, every transport that it started was told to stop, and said so within five seconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from ..contracts.transport import BudgetedTransport, BusTransport, LinkTransport, State, Transport
from .conformance import Verdict
from .hosts import Device, SuiteHost

START, STOP = 10.0, 5.0  # seconds, times the patience of the suite
T = TypeVar("T")


class Opener(Protocol):
    """What a stage needs of a suite."""

    patience: float
    verdict: Verdict

    def create(self, config: Any) -> Transport:
        """Make a transport that is not running yet."""


class _Status:
    """The `task_status` of a transport."""

    def __init__(self, event: anyio.Event) -> None:
        self._event = event

    def started(self, value: object = None) -> None:
        """Note that the other calls may be made."""
        self._event.set()


class Running:
    """One transport from its start to its end."""

    def __init__(self, transport: Transport, device: Device) -> None:
        self.transport: Any = transport
        self.device = device
        self.host = SuiteHost(device)
        self.started = anyio.Event()
        self.ended = anyio.Event()
        self.scope = anyio.CancelScope()
        self.error: BaseException | None = None
        self.used = 0  # of the links that came up by themselves

    @property
    def links(self) -> LinkTransport:
        """The transport as one that has links."""
        transport: LinkTransport = self.transport
        return transport

    @property
    def broadcast(self) -> BusTransport:
        """The transport as one that has a bus."""
        transport: BusTransport = self.transport
        return transport

    @property
    def metered(self) -> BudgetedTransport:
        """The transport as one that has a budget."""
        transport: BudgetedTransport = self.transport
        return transport

    async def run(self) -> None:
        """Run it until it is stopped, and keep the error that it ends with."""
        try:
            with self.scope:
                await self.transport.run(self.host, task_status=_Status(self.started))
        except Exception as error:  # whatever it is: the check says which rule that breaks
            self.error = error
        finally:
            self.ended.set()
            self.host.wake()

    def check(self) -> None:
        """AssertionError if it has ended by itself."""
        if self.ended.is_set() and not self.scope.cancel_called:
            how = "returned" if self.error is None else f"raised {type(self.error).__name__}: {self.error}"
            raise AssertionError(f"`run` {how} though nobody stopped it") from self.error


class Stage:
    """The devices of one check."""

    def __init__(self, suite: Opener, configs: Sequence[Any], tasks: TaskGroup) -> None:
        self.suite = suite
        self.configs = list(configs)
        self.devices = [Device(f"device {number}") for number in range(len(configs))]
        self.running: list[Running] = []
        self.tasks = tasks

    async def start(self, number: int) -> Running:
        """Start another transport on a device, and wait until it has its medium."""
        running = await self.begin(number)
        await self.within(START, f"it was not active within {START:g} s", lambda: self._active(running))
        running.check()
        return running

    async def begin(self, number: int) -> Running:
        """Start another transport on a device, and wait until its calls may be made."""
        running = self.launch(number)
        await self.within(START, f"`started()` was not called within {START:g} s", either(running))
        running.check()
        return running

    async def _active(self, running: Running) -> None:
        while not running.ended.is_set() and (not running.host.states or running.host.states[-1][0] is State.STARTING):
            await running.host.changed()
        state, reasons = running.host.states[-1] if running.host.states else (State.FAILED, ())
        if state is not State.ACTIVE and not running.ended.is_set():
            raise AssertionError(f"the medium is not there: it is {state.value}: {', '.join(reasons) or 'no reason'}")

    async def start_all(self, count: int = 2) -> list[Running]:
        """Start one on each of the first devices."""
        return [await self.start(number) for number in range(count)]

    def launch(self, number: int, transport: Transport | None = None) -> Running:
        """Start another transport, and wait for nothing."""
        made = transport or self.suite.create(self.configs[number])
        running = Running(made, self.devices[number])
        self.running.append(running)
        self.tasks.start_soon(running.run)
        return running

    async def stop(self, running: Running) -> None:
        """Cancel it, and wait until it has ended; AssertionError if it takes more than five seconds."""
        running.check()
        running.scope.cancel()
        await self.within(STOP, f"`run` did not end within {STOP:g} s of its cancellation", running.ended.wait)
        if running.error is not None:
            raise AssertionError(
                f"`run` was cancelled and raised {type(running.error).__name__}: {running.error}"
            ) from running.error

    async def within(self, seconds: float, words: str, wait: Callable[[], Awaitable[T]]) -> T:
        """Wait, at most so many seconds times the suite's patience; AssertionError with `words`."""
        with anyio.move_on_after(seconds * self.suite.patience):
            return await wait()
        raise self.suite.verdict.broken(AssertionError(words))

    async def close(self) -> None:
        """Stop what still runs."""
        for running in self.running:
            if not running.scope.cancel_called:
                await self.stop(running)


def either(running: Running) -> Callable[[], Awaitable[None]]:
    """Wait until a transport has started, or has ended."""

    async def wait() -> None:
        async with anyio.create_task_group() as tasks:

            async def first(event: anyio.Event) -> None:
                await event.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(first, running.started)
            tasks.start_soon(first, running.ended)

    return wait


@asynccontextmanager
async def open_stage(suite: Opener, configs: Sequence[Any]) -> AsyncIterator[Stage]:
    """A stage with these devices; what a check raises comes out as it is, and so does a transport that ended."""
    async with anyio.create_task_group() as tasks:
        stage = Stage(suite, configs, tasks)
        try:
            yield stage
            for running in stage.running:
                running.check()
            await stage.close()
        except BaseException as error:
            suite.verdict.broken(error)
            tasks.cancel_scope.cancel()
            raise


async def until(condition: Callable[[], object], *, every: float = 0.002) -> None:
    """Wait until a condition holds that no event tells."""
    await anyio.lowlevel.checkpoint()
    while not condition():
        await anyio.sleep(every)


async def settle() -> None:
    """Let what can go on now go on; nothing is claimed about how far it gets."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()
    await anyio.sleep(0.003)


class CancelledAt:
    """An awaitable that is cancelled at its n-th await; `cancelled` tells whether it came to that.

    >>> operation = CancelledAt(link.receive(), 1)
    >>> result = await operation.run()
    """

    def __init__(self, operation: Awaitable[T], position: int) -> None:
        self._operation = operation
        self._position = position
        self._scope = anyio.CancelScope()
        self.cancelled = False

    async def run(self) -> Any:
        """The result, or None where it was cancelled."""
        result = None
        with self._scope:
            result = await self
        self.cancelled = self._scope.cancelled_caught
        return result

    def __await__(self) -> Any:
        inner = self._operation.__await__()
        value: Any = None
        error: BaseException | None = None
        position = 0
        while True:
            try:
                waited = inner.send(value) if error is None else inner.throw(error)
            except StopIteration as end:
                return end.value
            position += 1
            if position == self._position:
                self._scope.cancel()
            value = error = None
            try:
                value = yield waited
            except BaseException as thrown:
                error = thrown
