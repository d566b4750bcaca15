"""The contract of a session profile: another way than our private sessions to keep logs in step with peers.

A profile gets blocks and heads, never plaintext; the node verifies every entry before it is stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import attrs
from anyio.abc import TaskStatus

from ..codec.cid import Cid
from ..crypto.keys import PrivateKey, Secret
from ..ids import AccountId, DeviceId, GroupId, PublicKey
from ..protocol.entry import Entry
from ..protocol.group import LogKind
from ..protocol.shareable import ShareableContact
from .transport import Link, Probe, State, Transport


@attrs.frozen
class LogId:
    """One of the two logs of a group."""

    group: GroupId
    kind: LogKind


@attrs.frozen
class Log:
    """A log that we follow: its address, the key that opens its frames, the key that signs its entries, our device."""

    id: LogId
    address: str
    link_key: Secret = attrs.field(repr=False)
    signing_public: PublicKey
    device: DeviceId


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


@attrs.frozen
class Verified:
    """Blocks that may join the log, and those that may not."""

    entries: tuple[tuple[Entry, bytes], ...]
    refused: tuple[bytes, ...] = ()
    reason: str = ""


@attrs.frozen
class Stored:
    """What became of entries: how many are new in the log, and the parents, not in it, that others wait for."""

    added: int
    missing: tuple[Cid, ...] = ()


@attrs.frozen(kw_only=True)
class PeerView:
    """A peer as people see it. `since` is by the host's monotonic clock; `logs` are those that both follow."""

    id: str
    addresses: tuple[str, ...]
    agent: str
    dialled_by_us: bool
    since: float
    logs: tuple[LogId, ...]


class ProfileHost(Protocol):
    """All that a session profile may use of the node."""

    logger: logging.Logger
    now: Callable[[], float]
    monotonic: Callable[[], float]
    entropy: Callable[[int], bytes]
    rotation: int

    def state(self, state: State, reasons: Sequence[str] = ()) -> None:
        """Say what the profile is doing, and why, in words for a person."""

    def transport(self, name: str) -> Transport | None:
        """A transport of this node by name, for a profile that shares what it has open."""

    def is_met_privately(self, device: DeviceId) -> bool:
        """Whether a private session with this device is open: what it carries need not be carried twice."""

    async def setting(self, name: str) -> Secret | None:
        """A value that this profile keeps in the home for this device: a copied home, which is a new one, has none."""

    async def put_setting(self, name: str, value: bytes) -> None:
        """Keep a value, sealed."""

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

    async def store(self, log: LogId, entries: Sequence[tuple[Entry, bytes]], refused: Sequence[bytes]) -> Stored:
        """Add verified entries, parents first, in one commit; what lacks a parent waits for it, within limits.

        `refused` are blocks that did not hold: entries that descend from them go on without them.
        """

    async def sent(self, log: LogId, cids: Sequence[Cid]) -> None:
        """Entries were handed to a live peer that has shown the group's link key; nothing more is known of them."""

    async def named(self, log: LogId, cids: Sequence[Cid], device: DeviceId | None, *, heads: bool) -> None:
        """A peer that has shown the group's link key, as this device, holds these entries and their ancestors.

        `heads`: they are everything that it holds, so that what comes after them is news.
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


class SessionProfile(Protocol):
    """One running profile."""

    async def run(self, host: ProfileHost, *, task_status: TaskStatus[None]) -> None:
        """Own every task of the profile; `started()` once peers can be met; cancelled to stop, and may run again."""

    def accept(self, link: Link) -> None:
        """Take over a stream link of any transport whose first byte is one of `first_bytes`; never blocks."""

    async def connect(self, address: str) -> str:
        """Meet a peer at an address of this profile's own form; its id. UserError, LinkLost in words for a person."""

    def peers(self) -> Sequence[PeerView]:
        """Who is connected now."""

    def addresses(self) -> Sequence[str]:
        """Where this node can be met now, in the form that `connect` takes."""


class SessionSpec(Protocol):
    """How a session profile is found, judged and made, without importing its library."""

    name: str
    config: type
    first_bytes: bytes  # what a link of this profile may begin with; 0xBE is the private profile's
    tested_on: tuple[str, ...]

    def probe(self, config: object) -> Probe:
        """Tell whether it can run, without side effects; its library may be absent."""

    def create(self, config: object) -> SessionProfile:
        """Make a profile that is not running yet."""
