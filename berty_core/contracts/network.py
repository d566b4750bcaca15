"""The contract of what tells about the device's surroundings: interfaces, connection, battery, switches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from anyio.abc import TaskStatus

from .traits import Network

__all__ = ["Network", "NetworkWatcher"]


class NetworkWatcher(Protocol):
    """Something that knows a part of the surroundings, and what of it changes."""

    name: str

    async def watch(self, tell: Callable[[Network], None], *, task_status: TaskStatus[None]) -> None:
        """Tell what is known now, then `started()`, then each change, until cancelled.

        What it does not know stays as `Network` has it ("unknown", None, empty); `foreground` is not read. `tell`
        is called on the event loop. An error means that nothing is known of this any longer.
        """
