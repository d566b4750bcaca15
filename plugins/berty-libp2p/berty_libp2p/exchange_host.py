"""What an exchange is given by the node that it runs for. Types without behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import attrs

from berty_core.codec.cid import Cid
from berty_core.crypto.keys import PrivateKey
from berty_core.ids import AccountId
from berty_core.protocol.shareable import ShareableContact
from berty_core.runtime.verification import Verified

from .gap import Pair
from .log_frames import Log, LogId


@attrs.frozen
class Added:
    """A log has a new entry."""

    log: LogId
    cid: Cid
    block: bytes = attrs.field(repr=False)


@attrs.frozen
class LogsChanged:
    """The set of logs, or what requests are met by, is another."""


@attrs.frozen
class ChangesMissed:
    """There were more changes than could be told: whoever listens has to look for itself."""


Change = Added | LogsChanged | ChangesMissed


class Changes(Protocol):
    """What changes, in order, each once it is committed."""

    async def receive(self) -> Change:
        """The next one."""

    def receive_nowait(self) -> Change | None:
        """The next one that waits already."""


@attrs.frozen
class Meeting:
    """How contact requests meet: the topic that we show (None: we take none), and those whose owners we want to ask."""

    own: str | None
    wanted: Mapping[str, AccountId]


class ExchangeHost(Protocol):
    """What the exchange is given by its node."""

    now: Callable[[], float]
    entropy: Callable[[int], bytes]
    rotation: int

    def changes(self) -> AbstractContextManager[Changes]:
        """What changes from now on."""

    async def logs(self) -> Sequence[Log]:
        """The logs to keep in step."""

    async def heads(self, log: LogId) -> Sequence[bytes]:
        """The blocks of a log's heads."""

    async def unknown(self, log: LogId, cids: Sequence[Cid]) -> Sequence[Cid]:
        """Those that the log lacks."""

    async def verify(self, log: LogId, blocks: Sequence[bytes]) -> Verified:
        """Tell entries of this log, signed by its group, from others."""

    async def store(self, log: LogId, entries: Sequence[Pair], refused: Sequence[bytes]) -> int:
        """Add verified entries, parents first, in one commit; how many are new.

        `refused` are blocks that did not hold: entries that descend from them go on without them.
        """

    async def blocks(self, cids: Sequence[Cid]) -> Mapping[Cid, bytes]:
        """Blocks of any log, for peers that name them."""

    async def meeting(self) -> Meeting:
        """How contact requests meet now."""

    def account_key(self) -> PrivateKey:
        """The account's key, for contact requests."""

    async def own_contact(self, contact: AccountId) -> ShareableContact:
        """What we tell a contact about ourselves."""

    async def request_sent(self, contact: AccountId) -> None:
        """A request was handed over."""

    async def request_received(self, contact: ShareableContact) -> None:
        """Somebody asked."""
