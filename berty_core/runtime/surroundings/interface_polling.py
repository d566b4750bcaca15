"""Interfaces and their addresses where no system tells of changes: they are looked at every few seconds."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import anyio
from anyio.abc import TaskStatus

from ...contracts.traits import Network

POLL = 5.0


class PollingWatcher:
    """Tells which interfaces have an address; of kind, cost and battery it knows nothing."""

    name = "polling"

    async def watch(
        self, tell: Callable[[Network], None], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Tell what is there, and look again and again."""
        tell(look())
        task_status.started()
        while True:
            await anyio.sleep(POLL)
            tell(look())


def look() -> Network:
    """What there is now."""
    import ifaddr  # noqa: PLC0415  a requirement where this is used

    names = frozenset(
        str(adapter.nice_name)
        for adapter in ifaddr.get_adapters()
        if any(not ip_address(_plain(address.ip)).is_loopback for address in adapter.ips)
    )
    return Network(online="yes" if names else "no", interfaces=names, kind="unknown" if names else "none")


def _plain(address: str | tuple[str, int, int]) -> str:
    return address if isinstance(address, str) else address[0]
