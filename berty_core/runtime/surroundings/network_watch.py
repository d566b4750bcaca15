"""All that is known of the surroundings, put together from those who watch; each is started again alone.

Invariant: what one watcher knows is never hidden by another that does not; plugins go before the core's own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import anyio
import attrs

from ...contracts.network import NetworkWatcher
from ...contracts.traits import Network
from ..decisions import Decisions, Kind
from .surroundings import Surroundings

REST = 30.0  # seconds after which a watcher that failed is started again
UNKNOWN = Network()


def own_watcher() -> NetworkWatcher:
    """What the core itself can tell on this system."""
    if sys.platform == "linux":
        from .netlink import NetlinkWatcher  # noqa: PLC0415  of this system only

        return NetlinkWatcher()
    from .interface_polling import PollingWatcher  # noqa: PLC0415  of other systems only

    return PollingWatcher()


class NetworkWatch:
    """Runs the watchers, and tells the surroundings."""

    def __init__(self, watchers: Sequence[NetworkWatcher], surroundings: Surroundings, decisions: Decisions) -> None:
        self._watchers = watchers
        self._surroundings = surroundings
        self._decisions = decisions
        self._known = [UNKNOWN] * len(watchers)

    async def run(self) -> None:
        """Watch until cancelled."""
        async with anyio.create_task_group() as tasks:
            for number, watcher in enumerate(self._watchers):
                tasks.start_soon(self._keep, number, watcher)

    async def _keep(self, number: int, watcher: NetworkWatcher) -> None:
        while True:
            reason = "it ended by itself"
            try:
                await watcher.watch(partial(self._take, number), task_status=anyio.TASK_STATUS_IGNORED)
            except Exception as error:  # a plugin may raise anything; it is named, and the others go on
                reason = f"{type(error).__name__}: {error}"
            self._take(number, UNKNOWN)
            self._decisions.add(Kind.NETWORK, f"the watcher {watcher.name} of the network failed ({reason})")
            await anyio.sleep(REST)

    def _take(self, number: int, network: Network) -> None:
        if not isinstance(network, Network):
            raise TypeError(f"it told {type(network).__name__}, not a Network")
        self._known[number] = network
        self._surroundings.change(merged(self._known, self._surroundings.network.foreground))


def merged(known: Sequence[Network], foreground: bool) -> Network:
    """For each fact the first one who knows it."""

    def pick(name: str) -> object:
        unknown = getattr(UNKNOWN, name)
        return next((value for value in (getattr(one, name) for one in known) if value != unknown), unknown)

    names = [field.name for field in attrs.fields(Network) if field.name != "foreground"]
    return Network(**{name: pick(name) for name in names}, foreground=foreground)  # type: ignore[arg-type]
