"""Multistream-select 1.0: two ends of a byte stream agree on what is spoken on it.

Invariant: at most one unfinished token is kept, and a peer that goes on proposing is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from berty_core.codec.varint import decode_varint, encode_varint
from berty_core.errors import LocalProtocolError, RemoteProtocolError

HEADER: Final = "/multistream/1.0.0"
REFUSAL: Final = "na"
MAX_TOKEN: Final = 1024
MAX_PROPOSALS: Final = 32


def encode_token(text: str) -> bytes:
    """One token: length, text, line feed."""
    data = text.encode() + b"\n"
    if len(data) > MAX_TOKEN or b"\n" in data[:-1]:
        raise LocalProtocolError(f"{text!r} cannot name a protocol")
    return encode_varint(len(data)) + data


class _Tokens:
    """Cut tokens out of a byte stream, one at a time."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def next(self) -> str | None:
        prefix = decode_varint(self.buffer)
        if prefix is None:
            return None
        length, start = prefix
        if not 0 < length <= MAX_TOKEN:
            raise RemoteProtocolError(f"a multistream token of {length} bytes, the limit is {MAX_TOKEN}")
        if len(self.buffer) < start + length:
            return None
        token = bytes(self.buffer[start : start + length])
        if not token.endswith(b"\n"):
            raise RemoteProtocolError("a multistream token without its line feed")
        del self.buffer[: start + length]
        try:
            return token[:-1].decode()
        except UnicodeDecodeError as error:
            raise RemoteProtocolError("a multistream token that is not text") from error


class _Negotiation:
    """What both sides share: tokens in, bytes out, and what was agreed (None until then)."""

    def __init__(self) -> None:
        self.agreed: str | None = None
        self._tokens = _Tokens()
        self._greeted = False
        self._out = bytearray()

    def receive(self, data: bytes) -> None:
        """Take bytes of the stream, cut anywhere; RemoteProtocolError if they are no negotiation."""
        self._tokens.buffer += data
        while self.agreed is None and (token := self._tokens.next()) is not None:
            if self._greeted:
                self._take(token)
            elif token != HEADER:
                raise RemoteProtocolError("the peer does not begin with multistream-select 1.0")
            else:
                self._greeted = True
                self._greet()

    def take(self) -> bytes:
        """What is to be written now."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def rest(self) -> bytes:
        """What came behind the agreement: the protocol's first bytes."""
        rest = bytes(self._tokens.buffer)
        self._tokens.buffer.clear()
        return rest

    def _greet(self) -> None:
        """The peer's header came."""

    def _take(self, token: str) -> None:
        raise NotImplementedError


class Proposal(_Negotiation):
    """The dialler's side: propose one protocol, at once behind the header; RemoteProtocolError if it is refused."""

    def __init__(self, protocol: str) -> None:
        super().__init__()
        self._protocol = protocol
        self._out += encode_token(HEADER) + encode_token(protocol)

    def _take(self, token: str) -> None:
        if token == REFUSAL:
            raise RemoteProtocolError(f"the peer does not speak {self._protocol}")
        if token != self._protocol:
            raise RemoteProtocolError(f"the peer answers a proposal of {self._protocol} with {token[:64]!r}")
        self.agreed = token


class Offer(_Negotiation):
    """The listener's side: agree to the first proposal that `speaks` accepts."""

    def __init__(self, speaks: Callable[[str], bool]) -> None:
        super().__init__()
        self._speaks = speaks
        self._refused = 0

    def _greet(self) -> None:
        self._out += encode_token(HEADER)

    def _take(self, token: str) -> None:
        if self._speaks(token):
            self.agreed = token
            self._out += encode_token(token)
            return
        self._refused += 1
        if self._refused > MAX_PROPOSALS:
            raise RemoteProtocolError("the peer goes on proposing protocols that are not spoken here")
        self._out += encode_token(REFUSAL)
