"""The contact request over any byte stream: handshake, then one `ShareableContact` (Wesh protocol, 5.4 to 5.6).

Invariant: a machine holds at most one unfinished frame, and says nothing about itself to who has not proven a key.
After an error or the end, what arrives is not read.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar

import attrs

from ..codec.frames import encode_frame
from ..codec.pb import wesh_pb2 as pb
from ..codec.protobuf import parse
from ..codec.varint import decode_varint
from ..crypto.boxes import open_secretbox, precompute_box, seal_secretbox
from ..crypto.kdf import equal
from ..crypto.keys import (
    PrivateKey,
    decode_public,
    encode_public,
    verify,
    x25519_pair,
    x25519_private,
    x25519_public,
)
from ..errors import LocalProtocolError, RemoteProtocolError
from ..ids import AccountId
from .shareable import MAX_FRAME, ShareableContact, decode_contact, encode_contact

PROTOCOL = "/wesh/contact_req/1.0.0"
_AUTHENTICATE_NONCE = b"\x01" + bytes(23)
_ACCEPT_NONCE = b"\x02" + bytes(23)


class State(enum.Enum):
    """Which frame a machine waits for, or how it ended."""

    HELLO = "waits for the peer's ephemeral key"
    AUTHENTICATE = "waits for the requester's proof"
    ACCEPT = "waits for the responder's proof"
    ACKNOWLEDGE = "waits for the requester's acknowledgement"
    CONTACT = "waits for the requester's contact"
    DONE = "ended well"
    FAILED = "ended by an error"


REQUESTER: Mapping[State, State] = MappingProxyType({State.HELLO: State.ACCEPT, State.ACCEPT: State.DONE})
RESPONDER: Mapping[State, State] = MappingProxyType(
    {
        State.HELLO: State.AUTHENTICATE,
        State.AUTHENTICATE: State.ACKNOWLEDGE,
        State.ACKNOWLEDGE: State.CONTACT,
        State.CONTACT: State.DONE,
    }
)
"""Each good frame moves a machine along its table; any other, or the stream's end, moves it to FAILED."""


@attrs.frozen
class RequestSent:
    """The last frame is ready to be taken; once it is written the request counts as sent, with no confirmation."""

    account: AccountId


@attrs.frozen
class RequestReceived:
    """A request came in from the holder of this account's key; `contact.account` is the same account."""

    account: AccountId
    contact: ShareableContact


Event = RequestSent | RequestReceived
Step = Callable[[bytes], tuple[Event, ...]]


class _Machine:
    """Frames in, frames out, and the walk along a transition table."""

    TRANSITIONS: ClassVar[Mapping[State, State]]

    def __init__(self, own: PrivateKey, ephemeral: bytes) -> None:
        self.state = State.HELLO
        self._own = own
        self._private, self._public = x25519_pair(_checked_entropy(ephemeral))
        self._shared = b""
        self._incoming = bytearray()
        self._outgoing = bytearray()

    def receive(self, data: bytes) -> tuple[Event, ...]:
        """Take bytes of the stream, cut anywhere; RemoteProtocolError ends the machine.

        What follows the last frame is dropped.
        """
        if self.state is State.FAILED:
            raise LocalProtocolError("this contact request has failed; a new one needs a new machine")
        self._incoming += data
        events: list[Event] = []
        try:
            while self.state is not State.DONE and (frame := self._cut_frame()) is not None:
                then = self.TRANSITIONS[self.state]
                events += self._steps()[self.state](frame)
                self.state = then
        except RemoteProtocolError:
            self._fail()
            raise
        if self.state is State.DONE:
            self._incoming.clear()
        return tuple(events)

    def take(self) -> bytes:
        """Return what is to be written to the stream since the last call."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def end(self) -> None:
        """Say that the peer closed the stream; RemoteProtocolError if it did so too early."""
        if self.state in (State.DONE, State.FAILED):
            return
        waited = self.state.value
        self._fail()
        raise RemoteProtocolError(f"the peer closed the stream of a contact request early; our side {waited}")

    def _steps(self) -> Mapping[State, Step]:
        raise NotImplementedError

    def _fail(self) -> None:
        self.state = State.FAILED
        self._incoming.clear()
        self._outgoing.clear()

    def _cut_frame(self) -> bytes | None:
        """Take one whole frame off the front of what has arrived; its length is judged first."""
        prefix = decode_varint(self._incoming)
        if prefix is None:
            return None
        length, start = prefix
        if length > MAX_FRAME:
            raise RemoteProtocolError(f"a contact request frame of {length} bytes, the limit is {MAX_FRAME}")
        if len(self._incoming) < start + length:
            return None
        frame = bytes(self._incoming[start : start + length])
        del self._incoming[: start + length]
        return frame

    def _send(self, payload: bytes) -> None:
        self._outgoing += encode_frame(payload, MAX_FRAME)

    def _send_hello(self) -> None:
        self._send(pb.HelloPayload(ephemeral_pub_key=self._public).SerializeToString())

    def _meet(self, frame: bytes) -> bytes:
        """Read the peer's ephemeral key and compute E, the secret of the two ephemeral keys."""
        public = parse(pb.HelloPayload, frame).ephemeral_pub_key
        if len(public) != 32 or public[31] & 0x80:  # X25519 ignores that bit: no second spelling of a key
            raise RemoteProtocolError(f"a malformed ephemeral key of {len(public)} bytes")
        self._shared = precompute_box(self._private, public)  # refuses points of low order
        return public

    def _seal(self, static: bytes, nonce: bytes, plaintext: bytes) -> None:
        box = seal_secretbox(self._box_key(static), nonce, plaintext)
        self._send(pb.BoxEnvelope(box=box).SerializeToString())

    def _open(self, static: bytes, nonce: bytes, frame: bytes) -> bytes:
        plaintext = open_secretbox(self._box_key(static), nonce, parse(pb.BoxEnvelope, frame).box)
        if plaintext is None:
            raise RemoteProtocolError("the peer of a contact request does not hold the keys it should")
        return plaintext

    def _box_key(self, static: bytes) -> bytes:
        return hashlib.sha256(self._shared + static).digest()


class ContactRequester(_Machine):
    """Ask the account `target` for contact: `own` is our account's key, `contact` what we tell about ourselves.

    `ephemeral` is 32 fresh random bytes. LocalProtocolError at once for a request that the peer would drop
    unread, or to oneself; RemoteProtocolError if `target` is no key.
    """

    TRANSITIONS = REQUESTER

    def __init__(self, own: PrivateKey, target: AccountId, contact: ShareableContact, ephemeral: bytes) -> None:
        super().__init__(own, ephemeral)
        if equal(own.public, target):
            raise LocalProtocolError("this is your own account: a contact request goes to somebody else")
        if not equal(own.public, contact.account):
            raise LocalProtocolError("a contact request tells about the account that signs it")
        self.target = target
        self._contact = encode_contact(contact)
        self._target_public = x25519_public(target)
        self._to_target = precompute_box(self._private, self._target_public)
        self._send_hello()

    def _steps(self) -> Mapping[State, Step]:
        return {State.HELLO: self._authenticate, State.ACCEPT: self._finish}

    def _authenticate(self, frame: bytes) -> tuple[Event, ...]:
        self._meet(frame)
        proof = pb.RequesterAuthenticatePayload(
            requester_account_id=encode_public(self._own.public), requester_account_sig=self._own.sign(self._shared)
        )
        self._seal(self._to_target, _AUTHENTICATE_NONCE, proof.SerializeToString())
        return ()

    def _finish(self, frame: bytes) -> tuple[Event, ...]:
        static = precompute_box(x25519_private(self._own), self._target_public)
        proof = parse(pb.ResponderAcceptPayload, self._open(static, _ACCEPT_NONCE, frame))
        if not verify(self.target, self._shared, proof.responder_account_sig):
            raise RemoteProtocolError("the peer is not the account that the link names: its signature is false")
        self._send(pb.RequesterAcknowledgePayload(success=True).SerializeToString())
        self._send(self._contact)
        return (RequestSent(self.target),)


class ContactResponder(_Machine):
    """Answer a contact request: `own` is our account's key, `ephemeral` 32 fresh random bytes."""

    TRANSITIONS = RESPONDER

    def __init__(self, own: PrivateKey, ephemeral: bytes) -> None:
        super().__init__(own, ephemeral)
        self._peer_public = b""
        self._account: AccountId | None = None

    def _steps(self) -> Mapping[State, Step]:
        return {
            State.HELLO: self._hello,
            State.AUTHENTICATE: self._accept,
            State.ACKNOWLEDGE: self._acknowledged,
            State.CONTACT: self._finish,
        }

    def _hello(self, frame: bytes) -> tuple[Event, ...]:
        self._peer_public = self._meet(frame)
        self._send_hello()
        return ()

    def _accept(self, frame: bytes) -> tuple[Event, ...]:
        private = x25519_private(self._own)
        static = precompute_box(private, self._peer_public)
        proof = parse(pb.RequesterAuthenticatePayload, self._open(static, _AUTHENTICATE_NONCE, frame))
        account = AccountId(decode_public(proof.requester_account_id))
        if equal(account, self._own.public):
            raise RemoteProtocolError("a contact request under our own account")
        if not verify(account, self._shared, proof.requester_account_sig):
            raise RemoteProtocolError("the requester's signature is false")
        accept = pb.ResponderAcceptPayload(responder_account_sig=self._own.sign(self._shared))
        self._seal(precompute_box(private, x25519_public(account)), _ACCEPT_NONCE, accept.SerializeToString())
        self._account = account
        return ()

    def _acknowledged(self, frame: bytes) -> tuple[Event, ...]:
        if not parse(pb.RequesterAcknowledgePayload, frame).success:
            raise RemoteProtocolError("the requester did not acknowledge our proof")
        return ()

    def _finish(self, frame: bytes) -> tuple[Event, ...]:
        contact = decode_contact(frame)
        if self._account is None or not equal(contact.account, self._account):
            raise RemoteProtocolError("the contact of a request is not the account that proved itself")
        return (RequestReceived(self._account, contact),)


def _checked_entropy(ephemeral: bytes) -> bytes:
    if len(ephemeral) != 32:
        raise LocalProtocolError(f"an ephemeral key is made from 32 random bytes, not {len(ephemeral)}")
    return ephemeral
