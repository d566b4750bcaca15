"""A link over one TCP connection. Invariant: only LinkLost, EndOfStream and LocalProtocolError leave this module."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from anyio.abc import ByteStream

from berty_core.contracts.transport import Endpoint, Traits
from berty_core.errors import EndOfStream, LinkLost, LocalProtocolError

from .seam import TRAITS


class TcpLink:
    """One live TCP connection; bytes pass as they are, without framing."""

    traits: Traits = TRAITS

    def __init__(
        self, stream: ByteStream, remote: Endpoint, *, initiator: bool, closed: Callable[[TcpLink], None]
    ) -> None:
        self.remote = remote
        self.initiator = initiator
        self._stream = stream
        self._closed = False
        self._on_close = closed

    def __repr__(self) -> str:
        return f"<TcpLink {'to' if self.initiator else 'from'} {self.remote.address}>"

    async def send(self, data: bytes) -> None:
        """Hand over `data`; returns once the operating system has all of it. LinkLost."""
        if self._closed:
            raise self._lost("was closed here")
        if not data:
            return
        try:
            await self._stream.send(data)
        except anyio.BusyResourceError as error:
            raise LocalProtocolError("two tasks send on one link at once") from error
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError) as error:
            raise self._lost("broke while sending") from error

    async def receive(self) -> bytes:
        """The next 1 to 65,536 bytes. EndOfStream, LinkLost."""
        if self._closed:
            raise self._lost("was closed here")
        try:
            return await self._stream.receive(65536)
        except anyio.BusyResourceError as error:
            raise LocalProtocolError("two tasks receive on one link at once") from error
        except anyio.EndOfStream as error:
            if self._closed:
                raise self._lost("was closed here") from error
            raise EndOfStream(f"the other end closed the link with {self.remote.address}") from error
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError) as error:
            raise self._lost("broke while receiving") from error

    async def aclose(self) -> None:
        """Close at once; idempotent; whoever waits in `send` or `receive` gets LinkLost."""
        if self._closed:
            return
        self._closed = True
        self._on_close(self)
        await anyio.aclose_forcefully(self._stream)

    def _lost(self, what: str) -> LinkLost:
        return LinkLost(f"the link with {self.remote.address} {what}")
