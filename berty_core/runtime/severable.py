"""A stranger's coroutine that can be left behind: whoever waits for it is free again, whatever it does.

Invariant: after `cut`, or once it has ignored a cancellation for `grace` seconds, the waiting task goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, Generic, TypeVar

from ..errors import TransportError

T = TypeVar("T")
STOP_LIMIT = 5.0  # seconds in which a driver has to stop


class LeftBehind(TransportError):
    """A driver's call did not end although it was cancelled; what it holds is lost with it."""


class Severable(Generic[T]):
    """Await it once in place of the coroutine."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, T], monotonic: Callable[[], float], grace: float = STOP_LIMIT
    ) -> None:
        self.ended = False
        self._coroutine = coroutine
        self._monotonic = monotonic
        self._grace = grace
        self._cancelled_at: float | None = None
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
                    self._check_cut()
                    send, value = self._coroutine.throw, error
        finally:
            self.ended = True

    def _check_cut(self) -> None:
        """LeftBehind if the coroutine had its time to end."""
        now = self._monotonic()
        self._cancelled_at = now if self._cancelled_at is None else self._cancelled_at
        if not self._is_cut and now - self._cancelled_at < self._grace:
            return
        if self._is_cut and self._task is not None:
            self._task.uncancel()
        with suppress(BaseException):  # whatever it says to its end
            self._coroutine.close()
        raise LeftBehind(f"it did not stop within {self._grace:g} s and was left behind")

    def cut(self) -> None:
        """Leave it where it stands, also in the middle of a wait that no cancellation reaches (on asyncio alone)."""
        self._is_cut = True
        if not self.ended and self._task is not None:
            self._task.cancel()
