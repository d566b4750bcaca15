"""The beacon asked for on a link itself, where the medium shows none (docs/reference/session.md, "Beacons on a link").

Invariant: what a peer makes this side keep is at most `MAX_LENGTH` bytes.
"""

from __future__ import annotations

import attrs

from ..errors import RemoteProtocolError

MAGIC = 0xBD  # the first byte of a request, and of an answer; a session begins with 0xBE
NONCE_LENGTH = 8
TAG_LENGTH = 8
MAX_TAGS = 255
HEADER = 2 + NONCE_LENGTH
MAX_LENGTH = HEADER + MAX_TAGS * TAG_LENGTH
REQUEST = bytes([MAGIC])


@attrs.frozen
class LinkBeacon:
    """What the other end of a link shows of itself: a nonce and tags, as in an advert."""

    nonce: bytes
    tags: tuple[bytes, ...]


def encode_answer(beacon: LinkBeacon) -> bytes:
    """The answer to a request; of more tags than fit the first ones are shown."""
    tags = beacon.tags[:MAX_TAGS]
    return bytes([MAGIC, len(tags)]) + beacon.nonce + b"".join(tags)


class AnswerReader:
    """Reads one answer out of the bytes of a link, however they are cut."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> tuple[LinkBeacon, bytes] | None:
        """The beacon and what came behind it, or None while it is not complete; RemoteProtocolError if it is none."""
        self._data += data
        if self._data[:1] not in (b"", REQUEST):
            raise RemoteProtocolError("the other end did not answer with a beacon")
        if len(self._data) < HEADER:
            return None
        end = HEADER + self._data[1] * TAG_LENGTH
        if len(self._data) < end:
            return None
        tags = tuple(bytes(self._data[at : at + TAG_LENGTH]) for at in range(HEADER, end, TAG_LENGTH))
        if list(tags) != sorted(set(tags)):
            raise RemoteProtocolError("the tags of a beacon stand in ascending order, each once")
        return LinkBeacon(bytes(self._data[2:HEADER]), tags), bytes(self._data[end:])
