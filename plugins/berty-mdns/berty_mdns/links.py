"""The links that are open, who may add to them, and the race that opens one.

Invariant: a connection is either in a link that is counted here, or closed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio
from anyio.abc import ByteStream

from berty_core.contracts.transport import Endpoint
from berty_core.errors import LinkLost

from .link import TcpLink
from .seam import MAX_ACCEPTED, MAX_DIALED, NAME, Accepted

MAX_PER_ADDRESS = 16


class Links:
    """All open links. `per_address` bounds those accepted from one address."""

    def __init__(self, per_address: int = MAX_PER_ADDRESS) -> None:
        self._per_address = per_address
        self._dialled: set[TcpLink] = set()
        self._accepted: dict[TcpLink, str] = {}

    def check_room(self) -> None:
        """LinkLost if no more may be dialled. Accepted ones are counted apart, so that strangers cannot use this up."""
        if len(self._dialled) >= MAX_DIALED:
            raise LinkLost(f"{MAX_DIALED} links that were dialled are open already; close one first")

    def objection(self, accepted: Accepted) -> str:
        """Why a connection may not come in; empty if it may."""
        if len(self._accepted) >= MAX_ACCEPTED:
            return f"{MAX_ACCEPTED} are open already"
        if list(self._accepted.values()).count(accepted.remote_ip) >= self._per_address:
            return f"{self._per_address} from that address are open already"
        return ""

    def dialled(self, stream: ByteStream, remote: Endpoint) -> TcpLink:
        """Make a link of a connection that we opened."""
        link = TcpLink(stream, remote, initiator=True, closed=self._dialled.discard)
        self._dialled.add(link)
        return link

    def accepted(self, accepted: Accepted) -> TcpLink:
        """Make a link of a connection that somebody opened to us; its endpoint is for the eye and cannot be dialled."""
        remote = Endpoint(NAME, f"{accepted.remote_ip} port {accepted.remote_port}")
        link = TcpLink(accepted.stream, remote, initiator=False, closed=self._forget)
        self._accepted[link] = accepted.remote_ip
        return link

    async def aclose(self) -> None:
        """Close all."""
        for link in (*self._dialled, *self._accepted):
            await link.aclose()

    def _forget(self, link: TcpLink) -> None:
        self._accepted.pop(link, None)


async def race(
    targets: Sequence[tuple[str, int]], connect: Callable[[str, int], Awaitable[ByteStream]], stagger: float
) -> ByteStream:
    """Try the targets `stagger` seconds apart, or sooner when one fails; the first to answer wins. LinkLost.

    This is RFC 8305 in spirit: the addresses are known already, so only its sections 4 and 5 apply.
    """
    won: list[ByteStream] = []
    lost: list[str] = []

    async def attempt(ip: str, port: int, failed: anyio.Event) -> None:
        try:
            won.append(await connect(ip, port))
        except LinkLost as error:
            lost.append(str(error))
            failed.set()
        else:
            tasks.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as tasks:
            for ip, port in targets:
                failed = anyio.Event()
                tasks.start_soon(attempt, ip, port, failed)
                with anyio.move_on_after(stagger):
                    await failed.wait()
    except BaseException:
        await _close(won)
        raise
    await _close(won[1:])
    if not won:
        raise LinkLost("; ".join(lost))
    return won[0]


async def _close(streams: Sequence[ByteStream]) -> None:
    for stream in streams:
        await anyio.aclose_forcefully(stream)
