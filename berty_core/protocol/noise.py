"""Noise XX over 25519, ChaChaPoly and SHA256, with psk0 where a pre-shared key is given (Noise revision 34).

Invariant: bytes that do not fit end the handshake or the transport for good; nothing is sent or told afterwards.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Mapping
from typing import Final

from ..crypto.aead import TAG_LENGTH, ChaChaPoly, chained_hkdf, sha256
from ..crypto.kdf import equal
from ..crypto.keys import Secret, exchange, x25519_pair
from ..errors import LocalProtocolError, RemoteProtocolError

KEY_LENGTH: Final = 32
MAX_MESSAGE: Final = 65535
MAX_PLAINTEXT: Final = MAX_MESSAGE - TAG_LENGTH
LENGTH_PREFIX: Final = 2
MAX_NONCE: Final = (1 << 64) - 1

_pack_nonce = struct.Struct("<4xQ").pack


class Token(enum.Enum):
    """What a handshake message carries or mixes in (section 7.1)."""

    E = "e"
    S = "s"
    EE = "ee"
    ES = "es"
    SE = "se"
    PSK = "psk"


Pattern = tuple[tuple[Token, ...], ...]

# Messages go to and fro, the initiator's first (sections 7.5 and 9.4).
XX: Final[Pattern] = ((Token.E,), (Token.E, Token.EE, Token.S, Token.ES), (Token.S, Token.SE))
XX_PSK0: Final[Pattern] = ((Token.PSK, *XX[0]), *XX[1:])
NAMES: Final[Mapping[Pattern, bytes]] = {
    XX: b"Noise_XX_25519_ChaChaPoly_SHA256",
    XX_PSK0: b"Noise_XXpsk0_25519_ChaChaPoly_SHA256",
}

# Which of our keys meets which of theirs, by token and by whether we are the initiator; True stands for the static key.
_EXCHANGES: Final[Mapping[Token, Mapping[bool, tuple[bool, bool]]]] = {
    Token.EE: {True: (False, False), False: (False, False)},
    Token.ES: {True: (False, True), False: (True, False)},
    Token.SE: {True: (True, False), False: (False, True)},
}


class CipherState:
    """One direction's key with its counter (section 5.1). It never rekeys and never uses a nonce twice."""

    __slots__ = ("_cipher", "_nonce")

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaChaPoly(key)
        self._nonce = 0

    def encrypt(self, plaintext: bytes | memoryview, data: bytes = b"") -> bytes:
        """Seal the next message, with `data` authenticated; LocalProtocolError once all 2^64-1 nonces are used."""
        nonce = self._nonce
        if nonce == MAX_NONCE:
            raise LocalProtocolError("the key has sealed its last message; open a new session")
        self._nonce = nonce + 1
        return self._cipher.seal(_pack_nonce(nonce), plaintext, data)

    def decrypt(self, box: bytes | memoryview, data: bytes = b"") -> bytes:
        """Open the next message; RemoteProtocolError if it is not the next one that the peer sealed."""
        nonce = self._nonce
        if nonce == MAX_NONCE:
            raise RemoteProtocolError("the peer uses a key beyond its last nonce")
        plaintext = self._cipher.open(_pack_nonce(nonce), box, data)
        if plaintext is None:
            raise RemoteProtocolError(f"Noise message {nonce} does not authenticate")
        self._nonce = nonce + 1
        return plaintext

    def __repr__(self) -> str:
        return f"CipherState(nonce={self._nonce})"


class _Symmetric:
    """Chaining key, transcript hash and the handshake's cipher (section 5.2)."""

    __slots__ = ("chaining_key", "cipher", "hash")

    def __init__(self, name: bytes) -> None:
        self.hash = name.ljust(KEY_LENGTH, b"\0") if len(name) <= KEY_LENGTH else sha256(name)
        self.chaining_key = Secret(self.hash)
        self.cipher: CipherState | None = None

    def mix_hash(self, data: bytes) -> None:
        self.hash = sha256(self.hash + data)

    def mix_key(self, material: bytes) -> None:
        self.chaining_key, key = chained_hkdf(self.chaining_key, material, 2)
        self.cipher = CipherState(key)

    def mix_key_and_hash(self, material: bytes) -> None:
        self.chaining_key, digest, key = chained_hkdf(self.chaining_key, material, 3)
        self.mix_hash(digest)
        self.cipher = CipherState(key)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        sealed = self.cipher.encrypt(plaintext, self.hash) if self.cipher else plaintext
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, sealed: bytes) -> bytes:
        plaintext = self.cipher.decrypt(sealed, self.hash) if self.cipher else sealed
        self.mix_hash(sealed)
        return plaintext

    @property
    def overhead(self) -> int:
        return TAG_LENGTH if self.cipher else 0


class _Phase(enum.Enum):
    TALKING = "talking"
    FINISHED = "finished"
    SPLIT = "split"
    FAILED = "failed"


class NoiseHandshake:
    """One handshake: `write_message` and `read_message` in turn, the initiator writes first, then `split`.

    `static` and `ephemeral` are X25519 private keys of 32 bytes; `ephemeral` is fresh entropy for this handshake
    alone. A `psk` of 32 bytes selects XXpsk0: who lacks it is refused at the first message and hears nothing.
    """

    def __init__(
        self, initiator: bool, static: Secret, ephemeral: Secret, prologue: bytes = b"", psk: bytes | None = None
    ) -> None:
        for name, key in (("static key", static), ("ephemeral key", ephemeral), ("pre-shared key", psk)):
            if key is not None and len(key) != KEY_LENGTH:
                raise LocalProtocolError(f"the {name} has {KEY_LENGTH} bytes, not {len(key)}")
        self.initiator = initiator
        self._static, self._static_public = x25519_pair(static)
        self._ephemeral, self._ephemeral_public = x25519_pair(ephemeral)
        self._psk = None if psk is None else Secret(psk)
        self._remote_static = b""
        self._remote_ephemeral = b""
        self._pattern = XX if psk is None else XX_PSK0
        self._turn = 0
        self._phase = _Phase.TALKING
        self._symmetric = _Symmetric(NAMES[self._pattern])
        self._symmetric.mix_hash(prologue)

    @property
    def finished(self) -> bool:
        """Whether all three messages have been exchanged and authenticated."""
        return self._phase in (_Phase.FINISHED, _Phase.SPLIT)

    @property
    def failed(self) -> bool:
        """Whether the peer's bytes have ended the handshake."""
        return self._phase is _Phase.FAILED

    @property
    def our_turn(self) -> bool:
        """Whether the next step is `write_message`."""
        return self._phase is _Phase.TALKING and (self._turn % 2 == 0) == self.initiator

    @property
    def handshake_hash(self) -> bytes:
        """The 32 bytes that bind everything said, equal on both sides (section 11.2); only once finished."""
        if not self.finished:
            raise LocalProtocolError("the handshake hash exists once the handshake is finished")
        return self._symmetric.hash

    @property
    def remote_static(self) -> bytes:
        """The peer's X25519 public key (32 bytes), from the message that brings it: second or third."""
        if self.failed or not self._remote_static:
            raise LocalProtocolError("the peer has not proved a static key in this handshake")
        return self._remote_static

    def write_message(self, payload: bytes = b"") -> bytes:
        """Make our next message, without length prefix; LocalProtocolError out of turn or above 65,535 bytes.

        RemoteProtocolError if the key that the peer sent before is of low order: the handshake is then over.
        """
        if not self.our_turn:
            raise LocalProtocolError(f"it is not our turn to write: the handshake is {self._phase.value}")
        if len(payload) > MAX_MESSAGE - 2 * KEY_LENGTH - 2 * TAG_LENGTH:
            raise LocalProtocolError(f"a payload of {len(payload)} bytes does not fit one Noise message")
        try:
            message = b"".join([self._write(token) for token in self._pattern[self._turn]])
            message += self._symmetric.encrypt_and_hash(payload)
        except RemoteProtocolError:
            self._fail()  # an exchange with a low-order key that the peer sent
            raise
        self._advance()
        return message

    def read_message(self, data: bytes) -> bytes:
        """Open the peer's next message (without length prefix) and return its payload.

        RemoteProtocolError if anything in it is wrong: the handshake is then over and no further call succeeds.
        """
        if self._phase is not _Phase.TALKING or self.our_turn:
            raise LocalProtocolError(f"it is not our turn to read: the handshake is {self._phase.value}")
        try:
            payload = self._read_message(bytes(data))
        except RemoteProtocolError:
            self._fail()
            raise
        self._advance()
        return payload

    def split(self) -> tuple[CipherState, CipherState]:
        """Return the two transport ciphers (send, receive), once: a second pair would use nonces twice."""
        if self._phase is not _Phase.FINISHED:
            raise LocalProtocolError(f"nothing to split: the handshake is {self._phase.value}")
        self._phase = _Phase.SPLIT
        first, second = (CipherState(key) for key in chained_hkdf(self._symmetric.chaining_key, b"", 2))
        self._forget()
        return (first, second) if self.initiator else (second, first)

    def _write(self, token: Token) -> bytes:
        if token is Token.E:
            self._mix_ephemeral(self._ephemeral_public)
            return self._ephemeral_public
        if token is Token.S:
            return self._symmetric.encrypt_and_hash(self._static_public)
        self._mix(token)
        return b""

    def _read_message(self, data: bytes) -> bytes:
        if len(data) > MAX_MESSAGE:
            raise RemoteProtocolError(f"Noise message of {len(data)} bytes, the limit is {MAX_MESSAGE}")
        rest = data
        for token in self._pattern[self._turn]:
            rest = self._read(token, rest)
        if len(rest) < self._symmetric.overhead:
            raise RemoteProtocolError("Noise handshake message ends early")
        return self._symmetric.decrypt_and_hash(rest)

    def _read(self, token: Token, data: bytes) -> bytes:
        if token is Token.E:
            self._remote_ephemeral, rest = _cut(data, KEY_LENGTH)
            if equal(self._remote_ephemeral, self._ephemeral_public):
                raise RemoteProtocolError("the peer sent our own ephemeral key back to us")
            self._mix_ephemeral(self._remote_ephemeral)
            return rest
        if token is Token.S:
            sealed, rest = _cut(data, KEY_LENGTH + self._symmetric.overhead)
            self._remote_static = self._symmetric.decrypt_and_hash(sealed)
            return rest
        self._mix(token)
        return data

    def _mix_ephemeral(self, public: bytes) -> None:
        self._symmetric.mix_hash(public)
        if self._psk is not None:
            self._symmetric.mix_key(public)  # so that a key is never the psk's alone (section 9.2)

    def _mix(self, token: Token) -> None:
        if token is Token.PSK:
            self._symmetric.mix_key_and_hash(self._psk or b"")
            return
        own_static, their_static = _EXCHANGES[token][self.initiator]
        own = self._static if own_static else self._ephemeral
        theirs = self._remote_static if their_static else self._remote_ephemeral
        self._symmetric.mix_key(exchange(own, theirs))

    def _advance(self) -> None:
        self._turn += 1
        if self._turn == len(self._pattern):
            self._phase = _Phase.FINISHED

    def _fail(self) -> None:
        self._phase = _Phase.FAILED
        self._remote_static = b""
        self._forget()

    def _forget(self) -> None:
        self._static = self._ephemeral = self._symmetric.chaining_key = Secret()
        self._psk = self._symmetric.cipher = None

    def __repr__(self) -> str:
        return f"NoiseHandshake(initiator={self.initiator}, message={self._turn}, {self._phase.value})"


def _cut(data: bytes, length: int) -> tuple[bytes, bytes]:
    if len(data) < length:
        raise RemoteProtocolError("Noise handshake message ends early")
    return data[:length], data[length:]


def encode_message(message: bytes) -> bytes:
    """Prefix a Noise message with its length, two bytes big-endian (libp2p Noise, "wire format")."""
    if len(message) > MAX_MESSAGE:
        raise LocalProtocolError(f"Noise message of {len(message)} bytes, the limit is {MAX_MESSAGE}")
    return len(message).to_bytes(LENGTH_PREFIX, "big") + message


class NoiseMessages:
    """Cut length-prefixed Noise messages out of a byte stream, one at a time, as a handshake needs them.

    A length above `limit` is refused before anything is kept for it.
    """

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data

    def next(self) -> bytes | None:
        """Return the next whole message without its prefix, None while it is incomplete."""
        if len(self._buffer) < LENGTH_PREFIX:
            return None
        length = int.from_bytes(self._buffer[:LENGTH_PREFIX], "big")
        if length > self.limit:
            raise RemoteProtocolError(f"Noise message of {length} bytes, the limit is {self.limit}")
        end = LENGTH_PREFIX + length
        if len(self._buffer) < end:
            return None
        message = bytes(self._buffer[LENGTH_PREFIX:end])
        del self._buffer[:end]
        return message

    def rest(self) -> bytes:
        """Give up what is behind the last message: the start of the transport's bytes."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest


class NoiseTransport:
    """The channel after the handshake: each Noise message behind its length of two bytes, big-endian.

    Keeps at most one unfinished message. `early` is what already came behind the handshake; `receive(b"")` opens it.
    """

    __slots__ = ("_buffer", "_decrypt", "_encrypt", "_failed", "_needed")

    def __init__(self, send: CipherState, receive: CipherState, early: bytes = b"") -> None:
        self._encrypt: Callable[[bytes | memoryview], bytes] = send.encrypt
        self._decrypt: Callable[[bytes | memoryview], bytes] = receive.decrypt
        self._buffer = bytearray(early)
        self._needed = 0
        self._failed = False

    def send(self, plaintext: bytes) -> bytes:
        """Seal `plaintext` in as many messages as it needs (65,519 bytes each); empty gives empty."""
        if 0 < len(plaintext) <= MAX_PLAINTEXT:
            sealed = self._encrypt(plaintext)
            return len(sealed).to_bytes(LENGTH_PREFIX, "big") + sealed
        view = memoryview(plaintext)
        parts: list[bytes] = []
        for start in range(0, len(view), MAX_PLAINTEXT):
            sealed = self._encrypt(view[start : start + MAX_PLAINTEXT])
            parts += (len(sealed).to_bytes(LENGTH_PREFIX, "big"), sealed)
        return b"".join(parts)

    def receive(self, data: bytes) -> bytes:
        """Return the plaintext of all messages that `data` completes.

        RemoteProtocolError if one does not authenticate; the channel is then dead.
        """
        if self._failed:
            raise LocalProtocolError("the Noise channel failed; close the link")
        if not self._buffer:
            return self._open(data)
        self._buffer += data
        if len(self._buffer) < self._needed:
            return b""  # so that a message in many small pieces is not walked through for each of them
        whole, self._buffer = self._buffer, bytearray()
        return self._open(whole)

    @property
    def pending(self) -> int:
        """Bytes of an unfinished message: never more than one message with its length."""
        return len(self._buffer)

    def _open(self, data: bytes | bytearray) -> bytes:
        try:
            return self._open_messages(data)
        except RemoteProtocolError:
            self._failed = True
            raise

    def _open_messages(self, data: bytes | bytearray) -> bytes:
        parts: list[bytes] = []
        view = memoryview(data)
        position, size = 0, len(data)
        while (start := position + LENGTH_PREFIX) <= size:
            end = start + (data[position] << 8 | data[position + 1])
            if end - start < TAG_LENGTH:
                raise RemoteProtocolError(f"Noise message of {end - start} bytes is shorter than its tag")
            if end > size:
                break
            parts.append(self._decrypt(view[start:end]))
            position = end
        if position < size:
            self._buffer += view[position:]
            self._needed = end - position if start <= size else LENGTH_PREFIX
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def __repr__(self) -> str:
        return f"NoiseTransport(pending={self.pending}, failed={self._failed})"
