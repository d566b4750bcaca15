"""Where each thing lies in the store, and one write at a time.

Invariant: nothing reaches the store but through a `Transaction`, and what must be secret is sealed on the way.
In clear are only CIDs, sizes, times and group ids; names of other records are blinded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...contracts.store import Store
from ...crypto.keys import Secret
from ...crypto.vault import Vault
from ...errors import LocalProtocolError, StoreCorrupt, StoreTooNew

SCHEMA = 2
_SCHEMA_KEY = b"!schema"

# First byte of a key: what kind of record it is.
SETTING = b"s"  # + blind(name): sealed
GROUP = b"g"  # + group id: sealed Group
ENTRY = b"e"  # + log + digest: time, block
INDEX = b"i"  # + log + path: node of the range index
HEAD = b"h"  # + log + digest: time
NOTE = b"n"  # + log + digest: sealed key of an opened message, time of arrival
REGISTER = b"r"  # + group id + blind(name): sealed register
CHAIN = b"c"  # + group id + blind(device): sealed chain
WAITING = b"w"  # + group id + blind(device) + counter: digest of a message that cannot be opened yet
ARRIVAL = b"a"  # + number: log + digest, in order of arrival
UNHELD = b"u"  # + log + digest: an own message that nobody else is known to hold
DELIVERY = b"d"  # + log + digest: sealed states of delivery
UNREAD = b"o"  # + group id: sealed number of messages that nobody has read here
REFUSED = b"x"  # + log + digest: the block of an ancestor that is refused
PEER = b"p"  # + group id + blind(device): sealed heads that a device said to hold
PLACE = b"b"  # + digest: the log in which this block is (since schema 2)

LOG_KEY = 16  # bytes
_PAGE = 256  # blocks that are read at a time

COPIED = "copied"  # the name of a setting: this home is a copy and has not yet become a new device


class Transaction:
    """Writes that become one commit; reads see them already."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self.store = store
        self.vault = vault
        self.puts: dict[bytes, bytes] = {}
        self.deletes: set[bytes] = set()

    def get(self, key: bytes) -> bytes | None:
        """The value as this transaction will leave it."""
        if key in self.puts:
            return self.puts[key]
        return None if key in self.deletes else self.store.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Write a record in clear."""
        self.deletes.discard(key)
        self.puts[key] = value

    def delete(self, key: bytes) -> None:
        """Remove a record."""
        self.puts.pop(key, None)
        self.deletes.add(key)

    def seal(self, key: bytes, value: bytes) -> None:
        """Write a sealed record."""
        self.put(key, self.vault.seal(key, value))

    def unseal(self, key: bytes) -> Secret | None:
        """Read a sealed record."""
        value = self.get(key)
        return None if value is None else self.vault.unseal(key, value)

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """All records under a prefix, with what this transaction changed."""
        found = dict(self.store.scan(prefix, after_prefix(prefix)))
        found.update({key: value for key, value in self.puts.items() if key.startswith(prefix)})
        return sorted((key, value) for key, value in found.items() if key not in self.deletes)


class Records:
    """The records of one home: begin a transaction, or read."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self.store = store
        self.vault = vault
        self._open: Transaction | None = None
        self._check_schema()

    def _check_schema(self) -> None:
        found = self.store.get(_SCHEMA_KEY)
        if found is None:
            self.store.commit({_SCHEMA_KEY: str(SCHEMA).encode()}, durable=True)
        elif not found.isdigit():
            raise StoreCorrupt("the home's schema record is damaged")
        elif int(found) > SCHEMA:
            raise StoreTooNew("this home was written by a later version; install that version to open it")
        elif int(found) < SCHEMA:
            self._note_places()

    def _note_places(self) -> None:
        """Bring a home of schema 1 to this one; what was interrupted begins again."""
        for kind in (ENTRY, REFUSED):
            start, end = kind, after_prefix(kind)
            while page := self.store.scan(start, end, limit=_PAGE):
                places = {PLACE + key[1 + LOG_KEY :]: key[1 : 1 + LOG_KEY] for key, _ in page}
                self.store.commit(places, durable=False)
                start = page[-1][0] + b"\0"
        self.store.commit({_SCHEMA_KEY: str(SCHEMA).encode()}, durable=True)

    @contextmanager
    def write(self, *, durable: bool, on_failure: Callable[[], None] | None = None) -> Iterator[Transaction]:
        """Collect writes and commit them at the end; nothing is written if the block or the commit fails."""
        if self._open is not None:
            raise LocalProtocolError("one transaction at a time")
        self._open = Transaction(self.store, self.vault)
        try:
            yield self._open
            if self._open.puts or self._open.deletes:
                self.store.commit(self._open.puts, self._open.deletes, durable=durable)
        except BaseException:  # also a block that was interrupted has written nothing; it is raised again
            self._open = None  # what is read again must come from the store, not from what was not written
            if on_failure:
                on_failure()
            raise
        finally:
            self._open = None

    def get(self, key: bytes) -> bytes | None:
        """A record, as the open transaction sees it."""
        return self._open.get(key) if self._open else self.store.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Write within the open transaction."""
        if self._open is None:
            raise LocalProtocolError("a record is written within a transaction only")
        self._open.put(key, value)

    def delete(self, key: bytes) -> None:
        """Remove within the open transaction."""
        if self._open is None:
            raise LocalProtocolError("a record is removed within a transaction only")
        self._open.delete(key)

    def unseal(self, key: bytes) -> Secret | None:
        """A sealed record, as the open transaction sees it."""
        value = self.get(key)
        return None if value is None else self.vault.unseal(key, value)

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """All records under a prefix."""
        return self._open.scan(prefix) if self._open else self.store.scan(prefix, after_prefix(prefix))


def after_prefix(prefix: bytes) -> bytes:
    """The first key behind all keys that start with `prefix`."""
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix[-1] < 0xFF else prefix + b"\xff" * 64
