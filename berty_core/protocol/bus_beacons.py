"""What is said in clear on a bus: beacons, and the datagrams of a link between two addresses.

Addresses are random and change with each beacon, so they name nobody for long. What is sealed looks random, so some of
it looks like this too: a beacon has a check, and a link's datagram must be for an address that exists.
"""

from __future__ import annotations

import hashlib

import attrs

from ..errors import LocalProtocolError, RemoteProtocolError
from .short_reader import ShortReader

ADDRESS_LENGTH = 6
NONCE_LENGTH = TAG_LENGTH = 8
CHECK_LENGTH = 4
LINK_HEAD = 1 + 2 * ADDRESS_LENGTH
MAX_TAGS = 128
_BEACON, _LINK = 0xBE, 0xBD


@attrs.frozen
class BusBeacon:
    """Somebody is there, at this address of the bus; nonce and tags as in any advert. No tags: who else is there?"""

    address: bytes
    nonce: bytes
    tags: tuple[bytes, ...]


@attrs.frozen
class LinkDatagram:
    """A datagram from one address to another."""

    target: bytes
    source: bytes
    data: bytes = attrs.field(repr=False)


def tags_in(mtu: int) -> int:
    """How many tags a beacon can show."""
    return min(MAX_TAGS, (mtu - 1 - ADDRESS_LENGTH - NONCE_LENGTH - CHECK_LENGTH) // TAG_LENGTH)


def encode_clear(said: BusBeacon | LinkDatagram) -> bytes:
    """The bytes of a datagram in clear."""
    if isinstance(said, LinkDatagram):
        return bytes((_LINK,)) + said.target + said.source + said.data
    data = bytes((_BEACON,)) + said.address + said.nonce + b"".join(said.tags)
    if len(said.tags) > MAX_TAGS:
        raise LocalProtocolError("more tags than a beacon shows")
    return data + _check(data)


def decode_clear(data: bytes) -> BusBeacon | LinkDatagram | None:
    """Read a datagram; None for one that is sealed, or is none of ours."""
    reader = ShortReader(data)
    try:
        kind = reader.byte()
        if kind == _LINK:
            link = LinkDatagram(reader.take(ADDRESS_LENGTH), reader.take(ADDRESS_LENGTH), reader.rest())
            return link if link.data else None
        if kind != _BEACON or _check(data[:-CHECK_LENGTH]) != data[-CHECK_LENGTH:]:
            return None
        address, nonce = reader.take(ADDRESS_LENGTH), reader.take(NONCE_LENGTH)
        count, rest = divmod(len(data) - 1 - ADDRESS_LENGTH - NONCE_LENGTH - CHECK_LENGTH, TAG_LENGTH)
        if rest or not 0 <= count <= MAX_TAGS:
            return None
        return BusBeacon(address, nonce, tuple(reader.take(TAG_LENGTH) for _ in range(count)))
    except RemoteProtocolError:
        return None


def _check(data: bytes) -> bytes:
    return hashlib.sha256(b"berty beacon on a bus" + data).digest()[:CHECK_LENGTH]
