"""Local records: the topics that a peer on the same network can be met under (Wesh protocol, section 6.6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from berty_core.codec.frames import encode_frame
from berty_core.codec.protobuf import parse

from .pb import libp2p_pb2 as pb

PROTOCOL: Final = "wesh/p2p/localrecord"  # without a slash in front, as it travels
MAX_MESSAGE: Final = 2048
LIFETIME: Final = 7200  # seconds


def encode_records(topics: Iterable[str], now: float) -> bytes:
    """The frame that names our topics; those that do not fit any more are left out. `now` in Unix seconds."""
    message = pb.LocalRecords()
    for topic in topics:
        record = message.records.add(topic=topic, expires=int(now) + LIFETIME)
        if message.ByteSize() > MAX_MESSAGE:
            message.records.remove(record)
            break
    return encode_frame(message.SerializeToString(), MAX_MESSAGE)


def decode_records(data: bytes, now: float) -> tuple[str, ...]:
    """The topics of a peer that have not expired; RemoteProtocolError for other bytes, or more than 2048 of them."""
    return tuple(record.topic for record in parse(pb.LocalRecords, data, MAX_MESSAGE).records if record.expires > now)
