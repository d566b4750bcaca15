"""What gossipsub peers say to each other: signed messages, and control.

Invariant: a message that is handed on was signed by the peer that it names as its author.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from berty_core.codec.varint import encode_varint
from berty_core.crypto.keys import PrivateKey, encode_public, verify
from berty_core.errors import LocalProtocolError, RemoteProtocolError

from .pb import libp2p_pb2 as pb
from .peers import PeerId

MAX_RPC: Final = 1 << 20  # go-libp2p-pubsub's default, of a whole frame
MAX_TOPIC: Final = 1024
_SIGNED: Final = b"libp2p-pubsub:"
_PUBLISH: Final = b"\x12"  # field 2 of an RPC


@attrs.frozen
class GossipMessage:
    """A message whose signature holds. `id` names it for good; `part` is the piece of an RPC that carries it."""

    id: bytes
    author: PeerId
    topic: str
    data: bytes = attrs.field(repr=False)
    part: bytes = attrs.field(repr=False)


def sign_message(key: PrivateKey, topic: str, data: bytes, sequence: int) -> GossipMessage:
    """Make a message of our own; `sequence` rises with each one. LocalProtocolError above 1 MiB."""
    author = PeerId.of(key.public)
    message = pb.PubsubMessage(author=author, data=data, seqno=sequence.to_bytes(8, "big"), topic=topic.encode())
    message.signature = key.sign(_SIGNED + message.SerializeToString())
    found = GossipMessage(author + message.seqno, author, topic, data, _part(message))
    if len(found.part) > MAX_RPC:
        raise LocalProtocolError(f"{len(data)} bytes are too many for one pubsub message")
    return found


def message_id(message: pb.PubsubMessage) -> bytes:
    """What names a message, before anything in it is checked."""
    return message.author + message.seqno


def check_message(message: pb.PubsubMessage) -> GossipMessage:
    """Check form and signature (strict signing); RemoteProtocolError if they do not hold."""
    author = PeerId(message.author)
    if len(message.seqno) != 8 or not message.HasField("topic"):
        raise RemoteProtocolError("a pubsub message without sequence number or topic")
    if message.HasField("key") and message.key != encode_public(author.public):
        raise RemoteProtocolError("a pubsub message with another key than its author's")
    unsigned = pb.PubsubMessage()
    unsigned.CopyFrom(message)
    unsigned.ClearField("signature")
    unsigned.ClearField("key")
    if not verify(author.public, _SIGNED + unsigned.SerializeToString(), message.signature):
        raise RemoteProtocolError("a pubsub message that its author did not sign")
    topic = topic_text(message.topic)
    return GossipMessage(message_id(message), author, topic, message.data, _part(message))


def topic_text(topic: bytes) -> str:
    """A topic as text; RemoteProtocolError if it is none."""
    if not 0 < len(topic) <= MAX_TOPIC:
        raise RemoteProtocolError(f"a topic of {len(topic)} bytes")
    try:
        return topic.decode()
    except UnicodeDecodeError as error:
        raise RemoteProtocolError("a topic that is not text") from error


def _part(message: pb.PubsubMessage) -> bytes:
    data = message.SerializeToString()
    return _PUBLISH + encode_varint(len(data)) + data


# Pieces of an RPC: protobuf messages add up by standing one behind the other.


def subscription(topic: str, subscribe: bool) -> bytes:
    """Say that we follow a topic, or no longer do."""
    entry = pb.Rpc.Subscription(subscribe=subscribe, topic=topic.encode())
    return pb.Rpc(subscriptions=[entry]).SerializeToString()


def graft(topic: str) -> bytes:
    """Ask for every message of a topic."""
    return pb.Rpc(control=pb.Control(graft=[pb.Control.Graft(topic=topic.encode())])).SerializeToString()


def prune(topic: str, backoff: int) -> bytes:
    """Ask to be sent no more of a topic, and not to be asked for it for `backoff` seconds."""
    entry = pb.Control.Prune(topic=topic.encode(), backoff=backoff)
    return pb.Rpc(control=pb.Control(prune=[entry])).SerializeToString()


def have(topic: str, ids: Iterable[bytes]) -> bytes:
    """Say which messages of a topic are here."""
    entry = pb.Control.IHave(topic=topic.encode(), message_ids=ids)
    return pb.Rpc(control=pb.Control(ihave=[entry])).SerializeToString()


def want(ids: Iterable[bytes]) -> bytes:
    """Ask for messages by their ids."""
    return pb.Rpc(control=pb.Control(iwant=[pb.Control.IWant(message_ids=ids)])).SerializeToString()
