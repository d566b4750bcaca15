"""Every error this package raises on purpose. Invariant: remote input causes only `RemoteProtocolError`."""

from __future__ import annotations


class BertyError(Exception):
    """The base of all errors here: the text says what happened, where, and what to do."""


class LocalProtocolError(BertyError):
    """Our own caller asked a protocol object for something that its state does not allow."""


class RemoteProtocolError(BertyError):
    """The peer, or a file or link made elsewhere, sent bytes that the protocol does not allow."""


class UserError(BertyError):
    """A person asked for something that cannot be done; the text tells them what to do instead."""


class ConfigError(UserError):
    """The configuration does not fit; the text names the file or option, the table and the key."""


class AmbiguousName(UserError):
    """A name matches several contacts or groups; the text lists their ids."""


class StoreError(BertyError):
    """The store cannot do what it was asked; nothing has changed."""


class StoreFull(StoreError):
    """The medium under the store has no room; nothing has changed."""


class StoreLocked(StoreError):
    """Another process has the store open."""


class StoreCorrupt(StoreError):
    """The store holds something that it never wrote, or the key does not fit."""


class StoreTooNew(StoreError):
    """The store was written by a later version of this software."""


class TransportError(BertyError):
    """A transport cannot do what it was asked."""


class LinkLost(TransportError):
    """The link broke: what was in flight may or may not have arrived."""


class EndOfStream(TransportError):
    """The other end of a stream closed it in good order."""


class MessageTooLarge(TransportError):
    """A datagram exceeds the medium's mtu; nothing was sent."""


class DeadlinePassed(TransportError):
    """What was to be sent is too old by now; nothing was sent."""


class BudgetSpent(TransportError):
    """Law or fairness forbid to send now; nothing was sent."""
