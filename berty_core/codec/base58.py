"""Base58 with Bitcoin's alphabet, and the 42 symbols of Berty's QR links, over one radix conversion."""

from __future__ import annotations

from ..errors import RemoteProtocolError

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BASE42 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789$*-.:/"
_PAIRS = [first + second for first in BASE58 for second in BASE58]


def encode_base58(data: bytes) -> str:
    """Encode bytes; each leading zero byte is a leading `1`."""
    number = int.from_bytes(data, "big")
    pairs: list[str] = []
    while number:  # ten digits at a time keeps most of the work on small integers
        number, part = divmod(number, 430804206899405824)
        for _ in range(5):
            part, pair = divmod(part, 3364)
            pairs.append(_PAIRS[pair])
    text = "".join(reversed(pairs)).lstrip("1")
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def decode_base58(text: str, limit: int = 4096) -> bytes:
    """Decode; RemoteProtocolError for a foreign character or more than `limit` characters."""
    return _decode(text, BASE58, limit)


def encode_base42(data: bytes) -> str:
    """Encode bytes for a QR code in alphanumeric mode (Berty's internal links)."""
    number = int.from_bytes(data, "big")
    digits: list[str] = []
    while number:
        number, digit = divmod(number, 42)
        digits.append(BASE42[digit])
    return "A" * (len(data) - len(data.lstrip(b"\0"))) + "".join(reversed(digits))


def decode_base42(text: str, limit: int = 4096) -> bytes:
    """Decode the 42-symbol form; RemoteProtocolError for a foreign character or too long a text."""
    return _decode(text, BASE42, limit)


def _decode(text: str, alphabet: str, limit: int) -> bytes:
    if len(text) > limit:
        raise RemoteProtocolError(f"text of {len(text)} characters, the limit is {limit}")
    number = 0
    for position, character in enumerate(text):
        digit = alphabet.find(character)
        if digit < 0:
            raise RemoteProtocolError(f"character {position + 1} ({character!r}) does not belong here")
        number = number * len(alphabet) + digit
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
