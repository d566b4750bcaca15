"""A driver's link as the rest of the core sees it: what is wrong with it is the driver's fault, and named.

Invariant: its calls raise TransportError alone, and what it gives is bytes, never empty, never above its mtu.
"""

from __future__ import annotations

from typing import Protocol

from ...contracts.transport import Endpoint, Link, Traits
from ...errors import BertyError, LinkLost, TransportError
from ..bus.links import BusLink

MAX_ADDRESS = 1024  # characters
MAX_PIECE = 16 * 1024 * 1024  # bytes that a stream may give at once


class LinkKeeper(Protocol):
    """Whoever is told what passes on a link, and what its driver did wrong."""

    def fault(self, words: str) -> None:
        """The driver broke the contract."""

    def passed(self, sent: int, received: int) -> None:
        """Bytes went through."""

    def may_pass(self) -> str:
        """Why nothing may be sent any more, in words; empty: it may."""


def endpoint_fault(endpoint: object, transport: str) -> str:
    """What is wrong with an endpoint that a driver gave; empty if nothing is."""
    if not isinstance(endpoint, Endpoint):
        return f"it gave {type(endpoint).__name__} as an endpoint"
    if endpoint.transport != transport:
        return f"it gave an endpoint of another transport ({str(endpoint.transport)[:40]!r})"
    if not isinstance(endpoint.address, str):
        return f"it gave an address that is no text but {type(endpoint.address).__name__}"
    if len(endpoint.address) > MAX_ADDRESS:
        return f"it gave an address of {len(endpoint.address)} characters"
    return ""


def link_fault(link: object, transport: str, *, dialled: bool) -> str:
    """What is wrong with a link that a driver gave; empty if nothing is."""
    missing = [name for name in ("send", "receive", "aclose") if not callable(getattr(link, name, None))]
    if missing:
        return f"it gave a link without {missing[0]}()"
    if not isinstance(getattr(link, "traits", None), Traits):
        return "it gave a link without traits"
    initiator = getattr(link, "initiator", None)
    if not isinstance(initiator, bool):
        return "it gave a link that does not say who is its initiator"
    if dialled and not initiator:
        return "it gave a link that it dialled and says that it did not"
    return endpoint_fault(getattr(link, "remote", None), transport)


class GuardedLink:
    """A link that was looked at before (`link_fault`)."""

    def __init__(self, link: Link, keeper: LinkKeeper) -> None:
        self.traits, self.remote, self.initiator = link.traits, link.remote, link.initiator
        self._link = link
        self._keeper = keeper
        self._counts = not isinstance(link, BusLink)  # what goes over a bus is counted there

    def __repr__(self) -> str:
        return f"<GuardedLink of {self._link!r}>"

    async def send(self, data: bytes) -> None:
        """Hand over `data`; LinkLost also where a quota is used up."""
        if reason := self._keeper.may_pass():
            raise LinkLost(reason)
        try:
            await self._link.send(data)
        except (BertyError, OSError) as error:
            raise _as_lost(error) from error
        except Exception as error:  # a driver may raise anything; it is named
            raise self._failed("send", error) from error
        if self._counts:
            self._keeper.passed(len(data), 0)

    async def receive(self) -> bytes:
        """The next bytes. EndOfStream, LinkLost."""
        try:
            data = await self._link.receive()
        except (BertyError, OSError) as error:
            raise _as_lost(error) from error
        except Exception as error:
            raise self._failed("receive", error) from error
        words = self._objection(data)
        if words:
            self._keeper.fault(words)
            raise LinkLost(f"its driver broke the rules: {words}")
        if self._counts:
            self._keeper.passed(0, len(data))
        return bytes(data)

    def _objection(self, data: object) -> str:
        if not isinstance(data, bytes | bytearray | memoryview):
            return f"a link gave {type(data).__name__} in place of bytes"
        if not len(data):
            return "a link gave no bytes at all"
        limit = MAX_PIECE if self.traits.stream else self.traits.mtu
        return f"a link gave {len(data)} bytes at once, its limit is {limit}" if len(data) > limit else ""

    async def aclose(self) -> None:
        """Close; a driver that cannot is named, and the link counts as closed."""
        try:
            await self._link.aclose()
        except (BertyError, OSError):
            return
        except Exception as error:
            self._failed("aclose", error)

    def _failed(self, call: str, error: Exception) -> LinkLost:
        words = f"{call}() of a link raised {type(error).__name__}: {error}"
        self._keeper.fault(words)
        return LinkLost(f"its driver failed: {words}")


def _as_lost(error: Exception) -> TransportError:
    return error if isinstance(error, TransportError) else LinkLost(str(error) or type(error).__name__)
