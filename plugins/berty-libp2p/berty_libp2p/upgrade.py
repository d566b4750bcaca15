"""From a bare link to an encrypted, authenticated one: libp2p's Noise, with the muxer chosen inside where both can.

Invariant: a link counts as upgraded once the peer has signed its Noise key with the key that its peer id names.
"""

from __future__ import annotations

from typing import Final

import attrs

from berty_core.codec.protobuf import parse
from berty_core.crypto.keys import PrivateKey, Secret, encode_public, verify, x25519_pair
from berty_core.errors import RemoteProtocolError
from berty_core.protocol.noise import NoiseHandshake, NoiseMessages, NoiseTransport, encode_message

from .pb import libp2p_pb2 as pb
from .peers import PeerId, identity_of

PROTOCOL: Final = "/noise"
YAMUX: Final = "/yamux/1.0.0"
MAX_PAYLOAD: Final = 8192
_SIGNED: Final = b"noise-libp2p-static-key:"


@attrs.frozen
class Upgraded:
    """The peer proved who it is; `early_muxer` tells whether yamux was agreed inside the handshake."""

    peer: PeerId
    channel: NoiseTransport = attrs.field(repr=False)
    early_muxer: bool


class NoiseUpgrade:
    """One Noise XX handshake with libp2p's payloads: feed `receive`, send what `take` gives.

    `static` and `ephemeral` are 32 bytes of fresh entropy each; `expected` is who must be there. `early_muxer` False
    behaves like peers that choose the muxer by a second multistream round.
    """

    def __init__(
        self,
        initiator: bool,
        identity: PrivateKey,
        static: Secret,
        ephemeral: Secret,
        *,
        expected: PeerId | None = None,
        early_muxer: bool = True,
    ) -> None:
        self.initiator = initiator
        self._noise = NoiseHandshake(initiator, static, ephemeral)
        self._messages = NoiseMessages()
        self._identity = identity
        self._static_public = x25519_pair(static)[1]
        self._expected = expected
        self._muxers = [YAMUX.encode()] if early_muxer else []
        self._peer: PeerId | None = None
        self._early = False
        self._read_messages = 0
        self._out = bytearray()
        if initiator:
            self._out += encode_message(self._noise.write_message())

    def receive(self, data: bytes) -> Upgraded | None:
        """Take bytes of the link; RemoteProtocolError ends the link."""
        self._messages.feed(data)
        while not self._noise.finished and (message := self._messages.next()) is not None:
            self._read(message)
        if not self._noise.finished or self._peer is None:
            return None
        sending, receiving = self._noise.split()
        return Upgraded(self._peer, NoiseTransport(sending, receiving, self._messages.rest()), self._early)

    def take(self) -> bytes:
        """What is to be written now."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def _read(self, message: bytes) -> None:
        if self._noise.our_turn:
            raise RemoteProtocolError("the peer spoke out of turn in the Noise handshake")
        payload = self._noise.read_message(message)
        self._read_messages += 1
        if self.initiator or self._read_messages > 1:  # the dialler's first message carries nothing yet
            self._check(payload)
        if self._noise.our_turn:
            self._out += encode_message(self._noise.write_message(self._payload()))

    def _payload(self) -> bytes:
        return pb.NoisePayload(
            identity_key=encode_public(self._identity.public),
            identity_sig=self._identity.sign(_SIGNED + self._static_public),
            extensions=pb.NoiseExtensions(stream_muxers=self._muxers),
        ).SerializeToString()

    def _check(self, data: bytes) -> None:
        payload = parse(pb.NoisePayload, data, MAX_PAYLOAD)
        peer = identity_of(payload.identity_key)
        if not verify(peer.public, _SIGNED + self._noise.remote_static, payload.identity_sig):
            raise RemoteProtocolError("the peer does not hold the key of its peer id")
        if peer.public == self._identity.public:
            raise RemoteProtocolError("this is ourselves")
        if self._expected is not None and peer != self._expected:
            raise RemoteProtocolError(f"{peer} answers where {self._expected} was expected")
        self._peer = peer
        self._early = any(muxer in self._muxers for muxer in payload.extensions.stream_muxers)
