"""What a device signs for one purpose says nothing elsewhere: above all, it is no message of its author."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.codec.cid import DAG_CBOR, Cid
from berty_core.codec.pb import wesh_pb2 as pb
from berty_core.codec.protobuf import parse
from berty_core.crypto.boxes import seal_secretbox
from berty_core.crypto.keys import Secret
from berty_core.errors import RemoteProtocolError
from berty_core.ids import DeviceId
from berty_core.protocol.bundle import STATEMENT_LABEL
from berty_core.protocol.envelope import SealedMessage, message_nonce, open_message
from berty_core.protocol.groupcast.frames import HELD_LABEL, confirm_held
from berty_core.protocol.offers import presence_text

from .logs_in_memory import ANN, GROUP

MESSAGE_KEY = Secret(bytes(32))  # of one of her counters: every member can derive it


def test_a_confirmation_is_no_message() -> None:
    """A member who seeks out digests must not get a signature that makes them a text of who confirms.

    Letters at the front would read as a field of 101 bytes that nobody knows; a field with a text follows here.
    """
    names = [bytes(10)] * 5 + [b"\0\0\x0a\x06agreed"]
    held = confirm_held(GROUP.id, ANN, tuple(Cid(DAG_CBOR + name + bytes(22)) for name in names))
    signed = HELD_LABEL + GROUP.id + b"".join(held.names)
    box = seal_secretbox(MESSAGE_KEY, message_nonce(1), signed)
    with pytest.raises(RemoteProtocolError):
        open_message(SealedMessage(1, DeviceId(ANN.public), held.signature, box), MESSAGE_KEY)


@pytest.mark.parametrize("label", [HELD_LABEL, STATEMENT_LABEL])
@given(rest=st.binary(max_size=300))
def test_no_label_begins_a_protobuf(label: bytes, rest: bytes) -> None:
    """Messages and events are signed as protobuf, which can begin with anything but these."""
    with pytest.raises(RemoteProtocolError):
        parse(pb.EncryptedMessage, label + rest)


@given(transcript=st.binary(min_size=32, max_size=32), initiator=st.booleans())
def test_a_presence_is_no_message(transcript: bytes, initiator: bool) -> None:
    """Its letters read as a field that is longer than the whole."""
    with pytest.raises(RemoteProtocolError):
        parse(pb.EncryptedMessage, presence_text(GROUP, transcript, initiator))
