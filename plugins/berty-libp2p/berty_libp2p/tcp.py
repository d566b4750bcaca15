"""Stream links over TCP, by anyio: dial one, or listen for many."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskStatus

from berty_core.contracts.transport import Endpoint, Traits
from berty_core.errors import EndOfStream, LinkLost

DIAL_TIMEOUT: Final = 10.0
CHUNK: Final = 65536
TRAITS: Final = Traits(stream=True)


class TcpLink:
    """A link over one TCP connection."""

    traits = TRAITS

    def __init__(self, stream: SocketStream, initiator: bool) -> None:
        self.initiator = initiator
        self._stream = stream
        attribute = stream.extra
        attribute(SocketAttribute.raw_socket).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.remote = Endpoint("libp2p", _text(attribute(SocketAttribute.remote_address)))
        self.local = Endpoint("libp2p", _text(attribute(SocketAttribute.local_address)))

    async def send(self, data: bytes) -> None:
        """Hand over bytes; LinkLost."""
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            raise LinkLost("the TCP connection broke") from error

    async def receive(self) -> bytes:
        """The next bytes; EndOfStream, LinkLost."""
        try:
            return await self._stream.receive(CHUNK)
        except anyio.EndOfStream as error:
            raise EndOfStream("the peer closed the TCP connection") from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            raise LinkLost("the TCP connection broke") from error

    async def aclose(self) -> None:
        """Close at once."""
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)


def _text(address: object) -> str:
    """Host and port; IPv6 in brackets, without zone."""
    host, port = address[:2] if isinstance(address, tuple) else ("0.0.0.0", 0)  # noqa: S104  nobody is bound here
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(text: str) -> tuple[str, int]:
    """Host and port of a link's address."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


async def dial_tcp(host: str, port: int) -> TcpLink:
    """Open a link; LinkLost in words after ten seconds at most."""
    try:
        with anyio.fail_after(DIAL_TIMEOUT):
            return TcpLink(await anyio.connect_tcp(host, port), initiator=True)
    except TimeoutError as error:
        raise LinkLost(f"no answer from {host} port {port} in {DIAL_TIMEOUT:g} s") from error
    except OSError as error:
        raise LinkLost(f"{host} port {port} cannot be reached: {error}") from error


async def listen_tcp(
    host: str,
    port: int,
    accept: Callable[[TcpLink], None],
    *,
    task_status: TaskStatus[tuple[str, int]] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Hand every TCP connection to `accept`, until cancelled; started with the address that is listened on.

    `accept` owns the link from then on, and closes it.
    """

    async def take(stream: SocketStream) -> None:
        try:
            link = TcpLink(stream, initiator=False)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            await stream.aclose()  # gone before it was looked at
            return
        accept(link)

    async with await anyio.create_tcp_listener(local_host=host, local_port=port, backlog=64) as listener:
        attribute = listener.extra
        bound = attribute(SocketAttribute.local_address)
        task_status.started((str(bound[0]), int(bound[1])))
        await listener.serve(take)
