"""A stranger's coroutine that can be left behind: whoever waits for it is free again, whatever it does.

Invariant: a driver that ignores its cancellation for `STOP_LIMIT` seconds holds up nobody any longer. (A wait that is
shielded from cancellation can be left on asyncio alone.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

import anyio

from ...errors import TransportError

T = TypeVar("T")
STOP_LIMIT = 5.0  # seconds in which a driver has to stop


class LeftBehind(TransportError):
    """A driver's call did not end although it was cancelled; what it holds is lost with it."""


class Severable(Generic[T]):
    """Await it once in place of the coroutine."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.ended = False
        self._coroutine = coroutine
        self._is_cut = False
        self._task: asyncio.Task[Any] | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        """Pass on what the coroutine waits for, until it ends or is cut off."""
        with suppress(RuntimeError):  # on another event loop there is none
            self._task = asyncio.current_task()
        try:
            send: Callable[[Any], Any] = self._coroutine.send
            value: Any = None
            while True:
                try:
                    waits_for = send(value)
                except StopIteration as stop:
                    result: T = stop.value
                    return result
                except SystemExit as error:
                    raise LeftBehind("it tried to end the whole program") from error
                try:
                    send, value = self._coroutine.send, (yield waits_for)
                except BaseException as error:
                    if self._is_cut:
                        self._leave()
                    send, value = self._coroutine.throw, error
        finally:
            self.ended = True

    def _leave(self) -> None:
        if self._task is not None:
            self._task.uncancel()
        with suppress(BaseException):  # whatever it says to its end
            self._coroutine.close()
        raise LeftBehind(f"it did not stop within {STOP_LIMIT:g} s and was left behind")

    def cut(self) -> None:
        """Leave it where it stands."""
        self._is_cut = True
        if not self.ended and self._task is not None:
            self._task.cancel()


async def see_end(calls: Sequence[Severable[Any]], share: float = 1.0) -> None:
    """Give calls that were cancelled their time to end, or a share of it, and leave behind what does not."""
    with anyio.CancelScope(shield=True):
        deadline, pause = anyio.current_time() + share * STOP_LIMIT, 0.001
        while not all(call.ended for call in calls) and anyio.current_time() < deadline:
            await anyio.sleep(pause)  # nobody tells, since what does not end cannot
            pause = min(0.05, 2 * pause)
        for call in calls:
            call.cut()


async def within(limit: float, coroutine: Coroutine[Any, Any, T], share: float = 1.0) -> T:
    """Await a driver's call; TimeoutError after `limit` seconds, or up to `STOP_LIMIT` later if it does not stop.

    `share` of that limit is given where the call is made within one that is given all of it.
    """
    call = Severable(coroutine)
    outcome: list[T | Exception] = []
    done = anyio.Event()

    async def run() -> None:
        try:
            outcome.append(await call)
        except Exception as error:  # raised below, so that it stays a single error
            outcome.append(error)
        finally:
            done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        try:
            with anyio.move_on_after(limit):
                await done.wait()
        finally:
            tasks.cancel_scope.cancel()
            await see_end([call], share)
    if not outcome:
        raise TimeoutError
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]
