"""Links that others open, told apart by their first byte: the private session's own, or one for a session profile.

Invariant: a link is used by one side only. Time limits and the treatment of unknown bytes stay the private session's.
"""

from __future__ import annotations

from collections.abc import Callable

from ...contracts.session import SessionProfile
from ...contracts.transport import Link
from ...errors import LinkLost

WORDS = "the peer speaks another session profile, which has the link now"


class SortedLink:
    """A link as a private session sees it, until its first byte shows that another profile is meant."""

    def __init__(self, link: Link, profile_for: Callable[[int], SessionProfile | None]) -> None:
        self.traits, self.remote, self.initiator = link.traits, link.remote, link.initiator
        self._link = link
        self._profile_for = profile_for
        self._is_sorted = self._is_given_away = False

    async def send(self, data: bytes) -> None:
        """Hand over bytes; LinkLost once another profile has the link."""
        if self._is_given_away:
            raise LinkLost(WORDS)
        await self._link.send(data)

    async def receive(self) -> bytes:
        """The next bytes; LinkLost where the first one is another profile's."""
        data = await self._link.receive()
        if not self._is_sorted:
            self._is_sorted = True
            profile = self._profile_for(data[0])
            if profile is not None:
                self._is_given_away = True
                profile.accept(BegunLink(self._link, data))
                raise LinkLost(WORDS)
        return data

    async def aclose(self) -> None:
        """Close the link, unless another profile has it."""
        if not self._is_given_away:
            await self._link.aclose()


class BegunLink:
    """A link of which something was read already: it comes again, first."""

    def __init__(self, link: Link, data: bytes) -> None:
        self.traits, self.remote, self.initiator = link.traits, link.remote, link.initiator
        self._link = link
        self._data = data

    async def send(self, data: bytes) -> None:
        """Hand over bytes; LinkLost."""
        await self._link.send(data)

    async def receive(self) -> bytes:
        """What was read already, then the next bytes; EndOfStream, LinkLost."""
        data, self._data = self._data, b""
        return data or await self._link.receive()

    async def aclose(self) -> None:
        """Close at once."""
        await self._link.aclose()
