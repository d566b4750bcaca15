"""A beacon as TXT data and back.

Invariant: whatever the network says, `decode_txt` gives a beacon within the limits or RemoteProtocolError.

The data is the nonce (8 bytes), then the tags (8 bytes each), cut into strings of at most 31 such units; string i
begins with the key "i=", so that each is a key and a value (RFC 6763, section 6.4) and no constant is 8 bytes long.
"""

from __future__ import annotations

from collections.abc import Iterator

from berty_core.contracts.transport import NONCE_LENGTH, TAG_LENGTH, Beacon
from berty_core.errors import LocalProtocolError, RemoteProtocolError

MAX_TAGS = 128
UNIT = TAG_LENGTH
STRING_PAYLOAD = 31 * UNIT
MAX_STRINGS = -(-(MAX_TAGS + 1) * UNIT // STRING_PAYLOAD)


def encode_txt(beacon: Beacon) -> bytes:
    """Raw TXT data of a beacon; LocalProtocolError for a wrong length or more than 128 tags."""
    if len(beacon.nonce) != NONCE_LENGTH or any(len(tag) != TAG_LENGTH for tag in beacon.tags):
        raise LocalProtocolError("a beacon needs a nonce of 8 bytes and tags of 8 bytes each")
    if len(beacon.tags) > MAX_TAGS:
        raise LocalProtocolError(f"a beacon of {len(beacon.tags)} tags does not fit one announcement of {MAX_TAGS}")
    data = beacon.nonce + b"".join(beacon.tags)
    chunks = [data[start : start + STRING_PAYLOAD] for start in range(0, len(data), STRING_PAYLOAD)]
    return b"".join(bytes([len(chunk) + 2]) + b"%d=" % index + chunk for index, chunk in enumerate(chunks))


def decode_txt(text: bytes) -> Beacon:
    """Read a beacon out of raw TXT data; RemoteProtocolError unless it has exactly the form above."""
    data = b"".join(_payloads(text))
    if len(data) < NONCE_LENGTH or (len(data) - NONCE_LENGTH) % TAG_LENGTH:
        raise RemoteProtocolError(f"TXT data carries {len(data)} bytes, which is no nonce with whole tags")
    if len(data) > NONCE_LENGTH + MAX_TAGS * TAG_LENGTH:
        raise RemoteProtocolError(f"TXT data carries more than {MAX_TAGS} tags")
    tags = (data[start : start + TAG_LENGTH] for start in range(NONCE_LENGTH, len(data), TAG_LENGTH))
    return Beacon(data[:NONCE_LENGTH], tuple(tags))


def _payloads(text: bytes) -> Iterator[bytes]:
    """Cut TXT data into its strings and check their keys."""
    offset = 0
    index = 0
    while offset < len(text):
        end = offset + 1 + text[offset]
        string = text[offset + 1 : end]
        if index >= MAX_STRINGS or end > len(text) or not string.startswith(b"%d=" % index):
            raise RemoteProtocolError(f"string {index} of the TXT data is not part of a beacon")
        yield string[2:]
        offset = end
        index += 1
