"""What a commit changed, told to whoever listens once it is safely stored. All of it is immutable."""

from __future__ import annotations

import attrs

from ...codec.cid import Cid
from ...ids import AccountId, DeviceId, GroupId
from ...protocol.group import LogKind


@attrs.frozen
class EntryAdded:
    """A log has a new entry, written here (`own`) or received; `block` is what other members are sent."""

    group: GroupId
    kind: LogKind
    cid: Cid
    block: bytes = attrs.field(repr=False)
    author: DeviceId | None = None
    own: bool = False


@attrs.frozen
class MessageArrived:
    """A message became readable; `number` counts arrivals over all groups."""

    number: int
    group: GroupId
    kind: LogKind
    cid: Cid
    late: bool


@attrs.frozen
class DeliveryChanged:
    """More is known about where an own message is."""

    group: GroupId
    cid: Cid


@attrs.frozen
class StateChanged:
    """Members, names or contacts of a group changed."""

    group: GroupId
    kinds: frozenset[str]


@attrs.frozen
class GroupsChanged:
    """A group was opened or closed, or what may be met at rendezvous points changed."""


@attrs.frozen
class OwnEntryMet:
    """The network holds a message of this device that the home had lost; its chain moved past it."""

    group: GroupId
    counter: int


@attrs.frozen
class RequestSettled:
    """A contact request was handed over, or arrived."""

    account: AccountId


@attrs.frozen
class EffectsMissed:
    """This listener was too slow and was not told everything: it has to look for itself."""


Effect = (
    EntryAdded
    | MessageArrived
    | DeliveryChanged
    | StateChanged
    | GroupsChanged
    | OwnEntryMet
    | RequestSettled
    | EffectsMissed
)
