"""What a group's datagrams on a bus are sealed with, and what keeps old ones from being taken twice.

A sealed datagram is an AES-SIV box and nothing else: all its bytes look random to whoever lacks the group's secret,
and no two are equal, since sender and counter lie inside (docs/reference/groupcast.md).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import attrs

from ...codec.varint import encode_varint
from ...crypto.aead import TAG_LENGTH, AesSiv
from ...crypto.kdf import hkdf_sha256
from ...errors import LocalProtocolError, RemoteProtocolError
from ..group import Group
from ..short_reader import ShortReader

SENDER_LENGTH = 4
COUNTER_LENGTH = 4  # bytes at most: room for 2^28 datagrams of one start of a node
MAX_COUNTER = 1 << 7 * COUNTER_LENGTH
OVERHEAD = TAG_LENGTH + SENDER_LENGTH + COUNTER_LENGTH
MAX_SENDERS = 256
TOPIC_LENGTH = 16
WINDOW = 128  # datagrams of one sender that may overtake each other


@attrs.frozen
class Opened:
    """What lay in a datagram of the group."""

    sender: bytes
    counter: int
    body: bytes = attrs.field(repr=False)


class GroupcastKey:
    """Seals and opens the datagrams of one group; `topic` names it on a bus that has topics."""

    def __init__(self, group: Group) -> None:
        if not group.secret:
            raise LocalProtocolError("who lacks a group's secret takes no part in it on a bus")
        self._cipher = AesSiv(hkdf_sha256(group.secret, b"berty groupcast" + group.id, 64))
        self.topic = bytes(hkdf_sha256(group.secret, b"berty groupcast topic" + group.id, TOPIC_LENGTH))

    def seal(self, sender: bytes, counter: int, body: bytes) -> bytes:
        """The datagram that carries a body of at least one byte."""
        return self._cipher.seal(sender + encode_varint(counter) + body)

    def open(self, datagram: bytes) -> Opened | None:
        """What lies in a datagram; None if it is not of this group, or not built as one."""
        plaintext = self._cipher.open(datagram)
        if plaintext is None:
            return None
        reader = ShortReader(plaintext)
        try:
            opened = Opened(reader.take(SENDER_LENGTH), reader.varint(), reader.rest())
        except RemoteProtocolError:
            return None
        return opened if opened.counter < MAX_COUNTER else None


class Sender:
    """Numbers what this device says in one group from one start to the next."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self.renew()

    def renew(self) -> None:
        """Begin again under another name."""
        self.id, self._counter = self._entropy(SENDER_LENGTH), 0

    def next(self) -> tuple[bytes, int]:
        """Name and number of the next datagram."""
        if self._counter >= MAX_COUNTER:
            self.renew()
        self._counter += 1
        return self.id, self._counter - 1

    def is_ours(self, opened: Opened) -> bool:
        """Whether a datagram bears our name: it came back, or somebody else took the name, and we take another.

        Otherwise whoever uses it with numbers far ahead would make others pass over all that we say.
        """
        is_ours = opened.sender == self.id
        if is_ours and opened.counter >= self._counter:
            self.renew()
        return is_ours


@attrs.define
class _Window:
    newest: int
    seen: int = 1  # bit n: the datagram n before the newest came


class ReplayWindow:
    """Which datagrams came already, for each of the senders heard last."""

    def __init__(self) -> None:
        self._windows: OrderedDict[bytes, _Window] = OrderedDict()

    def knows(self, sender: bytes) -> bool:
        """Whether this sender was heard before."""
        return sender in self._windows

    def is_new(self, sender: bytes, counter: int) -> bool:
        """Note a datagram; False if it came before, or is older than what is remembered."""
        window = self._windows.get(sender)
        if window is None:
            self._windows[sender] = _Window(counter)
            if len(self._windows) > MAX_SENDERS:
                self._windows.popitem(last=False)
            return True
        self._windows.move_to_end(sender)
        ahead = counter - window.newest
        if ahead > 0:
            window.seen = (window.seen << min(ahead, WINDOW) | 1) & (1 << WINDOW) - 1
            window.newest = counter
            return True
        if -ahead >= WINDOW or window.seen >> -ahead & 1:
            return False
        window.seen |= 1 << -ahead
        return True

    def forget(self, sender: bytes, counter: int) -> None:
        """What this datagram said did not happen: it may come again."""
        window = self._windows.get(sender)
        if window is not None and 0 <= window.newest - counter < WINDOW:
            window.seen &= ~(1 << window.newest - counter)
