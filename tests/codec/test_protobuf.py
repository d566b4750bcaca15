"""Every message that strangers send: any bytes give a message or RemoteProtocolError."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.codec.pb import messenger_pb2, wesh_pb2
from berty_core.codec.protobuf import parse
from berty_core.errors import RemoteProtocolError

KINDS: list[type[Message]] = [
    getattr(module, name)
    for module in (wesh_pb2, messenger_pb2)
    for name in sorted(module.DESCRIPTOR.message_types_by_name)
]


@settings(max_examples=300)
@given(st.sampled_from(KINDS), st.binary(max_size=80))
def test_any_bytes(kind: type[Message], data: bytes) -> None:
    """A message that was read is read again from what it writes."""
    try:
        message = parse(kind, data)
    except RemoteProtocolError:
        return
    assert parse(kind, message.SerializeToString()) == message or b"\xff" in data  # NaN is not equal to itself


@pytest.mark.parametrize("kind", KINDS)
def test_limit(kind: type[Message]) -> None:
    """A message above its limit is refused unread."""
    with pytest.raises(RemoteProtocolError, match="limit"):
        parse(kind, bytes(101), 100)


def test_deep_nesting() -> None:
    """Groups in groups end in an error, not in the stack."""
    with pytest.raises(RemoteProtocolError):
        parse(wesh_pb2.LocalRecords, b"\x0b" * 100_000)
