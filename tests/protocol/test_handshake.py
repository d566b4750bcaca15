"""The contact request against recorded transcripts, against every refusal of the Go code, and against a liar."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.codec.frames import FrameReader, encode_frame
from berty_core.codec.pb import wesh_pb2 as pb
from berty_core.crypto.boxes import precompute_box, seal_secretbox
from berty_core.crypto.keys import PrivateKey, encode_public, x25519_pair, x25519_private, x25519_public
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.ids import AccountId
from berty_core.protocol.handshake import (
    REQUESTER,
    RESPONDER,
    ContactRequester,
    ContactResponder,
    Event,
    RequestReceived,
    RequestSent,
    State,
)
from berty_core.protocol.shareable import MAX_FRAME, ShareableContact, decode_contact, encode_contact

VECTORS = Path(__file__).parents[1] / "vectors" / "wesh"
ANN, BOB, EVE = (PrivateKey(bytes([number]) * 32) for number in (1, 2, 3))
ANN_CONTACT = ShareableContact(AccountId(ANN.public), b"\x07" * 32, b"Ann")
EPHEMERAL_A, EPHEMERAL_B = b"\x0a" * 32, b"\x0b" * 32


def load(name: str) -> dict[str, Any]:
    return json.loads(gzip.decompress((VECTORS / f"{name}.json.gz").read_bytes()))


def recorded() -> list[list[dict[str, Any]]]:
    """The events of each recorded request."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for event in load("handshake")["events"]:
        groups.setdefault(event["step"], []).append(event)
    return list(groups.values())


def requester(contact: ShareableContact = ANN_CONTACT, target: PrivateKey = BOB) -> ContactRequester:
    return ContactRequester(ANN, AccountId(target.public), contact, EPHEMERAL_A)


def responder() -> ContactResponder:
    return ContactResponder(BOB, EPHEMERAL_B)


def converse(asking: ContactRequester, answering: ContactResponder) -> tuple[list[Event], list[Event]]:
    """Carry bytes to and fro until both are silent."""
    left: list[Event] = []
    right: list[Event] = []
    while (out := asking.take()) or (back := answering.take()):
        if out:
            right += answering.receive(out)
        else:
            left += asking.receive(back)
    return left, right


@pytest.mark.parametrize("chunk", [1, 7, 4096])
@pytest.mark.parametrize("events", recorded(), ids=lambda events: events[0]["step"])
def test_recorded_request_is_reproduced_in_both_roles(events: list[dict[str, Any]], chunk: int) -> None:
    """With the recorded keys both machines write every recorded byte, however the stream is cut."""
    keys = [event["extra"] for event in events if event["kind"] == "handshake_ephemeral"]
    writes = [event for event in events if event["kind"] == "contact_stream_write"]
    first = writes[0]["self"]
    sent = [
        b"".join(bytes.fromhex(e["data"]) for e in writes if (e["self"] == first) is mine) for mine in (True, False)
    ]
    accounts = [PrivateKey(bytes.fromhex(key["own_account_priv"])[:32]) for key in keys]
    ephemerals = [bytes.fromhex(key["ephemeral_priv"]) for key in keys]
    contact = decode_contact(FrameReader(MAX_FRAME).feed(sent[0])[-1])

    asking = ContactRequester(accounts[0], AccountId(accounts[1].public), contact, ephemerals[0])
    answering = ContactResponder(accounts[1], ephemerals[1])
    wrote, events_left = _drive(asking, sent[1], chunk)
    assert sent[0] == wrote
    assert [RequestSent(AccountId(accounts[1].public))] == events_left
    wrote, events_right = _drive(answering, sent[0], chunk)
    assert sent[1] == wrote
    assert [RequestReceived(AccountId(accounts[0].public), contact)] == events_right
    assert asking.state is answering.state is State.DONE
    asking.end()
    answering.end()


def _drive(machine: ContactRequester | ContactResponder, data: bytes, chunk: int) -> tuple[bytes, list[Event]]:
    wrote, events = machine.take(), []
    for start in range(0, len(data), chunk):
        events += machine.receive(data[start : start + chunk])
        wrote += machine.take()
    return wrote, events


def forge(
    *,
    ephemeral: bytes = EPHEMERAL_A,
    account: PrivateKey = ANN,
    signature: Callable[[bytes], bytes] | None = None,
    success: bool = True,
    contact: bytes = encode_contact(ANN_CONTACT),
) -> tuple[ContactResponder, bytes]:
    """Play a requester by hand as far as the responder lets it; return what is sent after its accept."""
    private, public = x25519_pair(ephemeral)
    answering = responder()
    answering.receive(encode_frame(pb.HelloPayload(ephemeral_pub_key=public).SerializeToString(), MAX_FRAME))
    hello = pb.HelloPayload.FromString(FrameReader(MAX_FRAME).feed(answering.take())[0])
    shared = precompute_box(private, hello.ephemeral_pub_key)
    proof = pb.RequesterAuthenticatePayload(
        requester_account_id=encode_public(account.public),
        requester_account_sig=(signature or account.sign)(shared),
    )
    key = hashlib.sha256(shared + precompute_box(private, x25519_public(BOB.public))).digest()
    box = seal_secretbox(key, b"\x01" + bytes(23), proof.SerializeToString())
    answering.receive(encode_frame(pb.BoxEnvelope(box=box).SerializeToString(), MAX_FRAME))
    acknowledge = pb.RequesterAcknowledgePayload(success=success).SerializeToString()
    length = bytes([len(contact) & 0x7F | 0x80, len(contact) >> 7]) if len(contact) > 127 else bytes([len(contact)])
    return answering, encode_frame(acknowledge, MAX_FRAME) + length + contact


def play(**lies: Any) -> list[Event]:
    answering, rest = forge(**lies)
    return list(answering.receive(rest))


def raw_contact(**fields: bytes) -> bytes:
    return pb.ShareableContact(**{"pk": bytes(ANN.public), **fields}).SerializeToString()


def zero_ephemeral() -> list[Event]:
    hello = pb.HelloPayload(ephemeral_pub_key=bytes(32)).SerializeToString()
    return list(responder().receive(encode_frame(hello, MAX_FRAME)))


CASES: dict[str, Callable[[], list[Event]]] = {
    "valid with seed": play,
    "valid without seed": lambda: play(contact=raw_contact()),
    "seed of 31 bytes": lambda: play(contact=raw_contact(public_rendezvous_seed=bytes(31))),
    "pk of the frame differs from the handshake identity": lambda: play(contact=raw_contact(pk=bytes(EVE.public))),
    "pk missing in the frame": lambda: play(contact=raw_contact(pk=b"")),
    "bad requester signature": lambda: play(signature=EVE.sign),
    "acknowledge success=false": lambda: play(success=False),
    "metadata of 1900 bytes": lambda: play(contact=raw_contact(metadata=bytes(1900))),
    "frame > 2048 bytes": lambda: play(contact=raw_contact(metadata=bytes(3000))),
    "Go's own account key as requester": lambda: play(account=BOB, contact=raw_contact(pk=bytes(BOB.public))),
    "all-zero ephemeral key": zero_ephemeral,
}
STATE_DECIDES = "same contact a second time (Received)"  # not the handshake: the account's metadata does


@pytest.mark.parametrize(
    "case", [case for case in load("negative")["cases"] if case["kind"] == "contact_request"], ids=lambda c: c["label"]
)
def test_verdicts_of_the_go_code(case: dict[str, Any]) -> None:
    """Each crafted request meets the verdict that the Go responder gave."""
    if case["label"] == STATE_DECIDES:
        assert play() == play()
        return
    if case["expected_accept"]:
        (event,) = CASES[case["label"]]()
        assert isinstance(event, RequestReceived)
        assert AccountId(ANN.public) == event.account
        return
    with pytest.raises(RemoteProtocolError):
        CASES[case["label"]]()


@pytest.mark.parametrize(
    "lie",
    [
        {"signature": lambda shared: b""},
        {"signature": lambda shared: ANN.sign(shared + b"\0")},
        {"account": EVE, "signature": ANN.sign},
        {"contact": b"\xff"},
        {"contact": raw_contact(pk=b"\x02" * 32)},
    ],
)
def test_further_lies_are_refused(lie: dict[str, Any]) -> None:
    """Signatures of nothing, of something else or by somebody else, and contacts that are none."""
    with pytest.raises(RemoteProtocolError):
        play(**lie)


def test_a_request_from_end_to_end() -> None:
    """Both machines end well, and the responder has the verified account with all it tells."""
    sent, received = converse(requester(), responder())
    assert [RequestSent(AccountId(BOB.public))] == sent
    assert [RequestReceived(AccountId(ANN.public), ANN_CONTACT)] == received


def test_who_is_not_the_account_of_the_link_learns_nothing() -> None:
    """A responder with another key cannot open the proof, and says nothing that the requester accepts."""
    asking, answering = requester(target=EVE), responder()
    answering.receive(asking.take())
    asking.receive(answering.take())
    with pytest.raises(RemoteProtocolError, match="does not hold the keys"):
        answering.receive(asking.take())
    assert answering.take() == b""
    assert answering.state is State.FAILED


@pytest.mark.parametrize("signed", [None, (EVE, b""), (BOB, b"something else")])
def test_a_responder_that_signs_wrongly_is_refused(signed: tuple[PrivateKey, bytes] | None) -> None:
    """A box under the right keys with a false signature in it does not make a request count as sent."""
    asking = requester()
    private, public = x25519_pair(EPHEMERAL_B)
    asking.receive(encode_frame(pb.HelloPayload(ephemeral_pub_key=public).SerializeToString(), MAX_FRAME))
    asking.take()
    shared = precompute_box(private, x25519_pair(EPHEMERAL_A)[1])
    static = precompute_box(x25519_private(BOB), x25519_public(ANN.public))
    signature = signed[0].sign(signed[1] or shared) if signed else b""
    payload = pb.ResponderAcceptPayload(responder_account_sig=signature).SerializeToString()
    box = seal_secretbox(hashlib.sha256(shared + static).digest(), b"\x02" + bytes(23), payload)
    with pytest.raises(RemoteProtocolError, match="signature is false"):
        asking.receive(encode_frame(pb.BoxEnvelope(box=box).SerializeToString(), MAX_FRAME))
    assert asking.take() == b""


def test_a_reflected_request_fails() -> None:
    """A requester that hears its own frames again does not finish."""
    asking = requester()
    hello = asking.take()
    asking.receive(hello)
    with pytest.raises(RemoteProtocolError):
        asking.receive(asking.take())


def test_a_frame_is_refused_by_its_announced_length() -> None:
    """A length above 2048, or one that never ends, is refused before anything is kept for it."""
    for announced in (b"\x81\x10", b"\xff\xff\xff\xff\x07", b"\xff" * 10):
        answering = responder()
        with pytest.raises(RemoteProtocolError):
            answering.receive(announced)
        assert answering.state is State.FAILED
        with pytest.raises(LocalProtocolError, match="failed"):
            answering.receive(b"\0")
    answering = responder()
    answering.receive(b"\x80\x10" + bytes(2000))
    assert answering.state is State.HELLO


def test_a_stream_that_ends_early_is_an_error_once() -> None:
    """The error says what was waited for; after the end of the machine it is none."""
    answering = responder()
    with pytest.raises(RemoteProtocolError, match="waits for the peer's ephemeral key"):
        answering.end()
    answering.end()


def test_bytes_after_the_last_frame_are_dropped() -> None:
    """What follows a complete request changes nothing, in the same chunk or a later one."""
    answering, rest = forge()
    (event,) = answering.receive(rest + b"\xff" * 100)
    assert isinstance(event, RequestReceived)
    assert answering.receive(b"\xff" * 100) == ()
    assert not answering._incoming


def test_our_own_mistakes_are_ours() -> None:
    """What the peer would drop unread is refused before a byte is sent."""
    exact = attrs.evolve(ANN_CONTACT, metadata=bytes(MAX_FRAME - 71))
    assert len(encode_contact(exact)) == MAX_FRAME
    assert [RequestReceived(AccountId(ANN.public), exact)] == converse(requester(exact), responder())[1]
    with pytest.raises(LocalProtocolError, match="2049 bytes"):
        requester(attrs.evolve(ANN_CONTACT, metadata=bytes(MAX_FRAME - 70)))
    with pytest.raises(LocalProtocolError, match="your own account"):
        requester(target=ANN)
    with pytest.raises(LocalProtocolError, match="the account that signs"):
        requester(attrs.evolve(ANN_CONTACT, account=AccountId(EVE.public)))
    with pytest.raises(LocalProtocolError, match="seed"):
        requester(attrs.evolve(ANN_CONTACT, rendezvous_seed=b"short"))
    with pytest.raises(LocalProtocolError, match="32 random bytes"):
        ContactResponder(BOB, b"")


def test_a_target_that_is_no_key_is_the_links_fault() -> None:
    """An account id that is no point of the curve ends the request before it starts."""
    with pytest.raises(RemoteProtocolError):
        ContactRequester(ANN, AccountId(b"\x02" * 32), ANN_CONTACT, EPHEMERAL_A)


def test_the_tables_name_every_step_and_end() -> None:
    """Each table leads from the first frame to the end, and each machine has a step for each state."""
    for table, machine in ((REQUESTER, requester()), (RESPONDER, responder())):
        state = State.HELLO
        walked = []
        while state is not State.DONE:
            walked.append(state)
            state = table[state]
        assert walked == list(table) == list(machine._steps())


def _transcript() -> tuple[bytes, bytes]:
    asking, answering = requester(), responder()
    left = right = b""
    while (out := asking.take()) or (back := answering.take()):
        if out:
            left += out
            answering.receive(out)
        else:
            right += back
            asking.receive(back)
    return left, right


LEFT, RIGHT = _transcript()
HANDSHAKE_BITS = (len(LEFT) - len(encode_contact(ANN_CONTACT)) - 1) * 8


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_no_flipped_bit_authenticates_a_requester() -> None:
    """Of all bits of the requester's handshake frames, only other spellings of `success` leave it accepted."""
    accepted = {bit: event for bit in range(HANDSHAKE_BITS) for event in _answer(_flipped(LEFT, bit))}
    assert set(accepted) <= set(range(HANDSHAKE_BITS - 8, HANDSHAKE_BITS))  # true is any number but 0
    assert set(accepted.values()) == {RequestReceived(AccountId(ANN.public), ANN_CONTACT)}


def _answer(data: bytes) -> tuple[Event, ...]:
    try:
        return responder().receive(data)
    except RemoteProtocolError:
        return ()


def test_no_flipped_bit_authenticates_a_responder() -> None:
    """With any bit of the responder's frames flipped, no request counts as sent."""
    for bit in range(len(RIGHT) * 8):
        asking = requester()
        with contextlib.suppress(RemoteProtocolError):
            assert asking.receive(_flipped(RIGHT, bit)) == ()
        assert asking.state is not State.DONE


@given(st.lists(st.binary(max_size=64), max_size=8), st.booleans(), st.integers(0, len(LEFT)))
def test_any_stream_gives_events_or_remote_error(chunks: list[bytes], framed: bool, honest: int) -> None:
    """Whatever follows an honest beginning, both machines give events or RemoteProtocolError, in bounded memory."""
    for machine, beginning in ((responder(), LEFT[:honest]), (requester(), RIGHT[:honest])):
        try:
            machine.receive(beginning)
            for chunk in chunks:
                machine.receive(encode_frame(chunk, MAX_FRAME) if framed else chunk)
                assert len(machine._incoming) <= MAX_FRAME + 2
        except RemoteProtocolError:
            assert machine.state is State.FAILED
            assert not machine._incoming


@pytest.mark.parametrize("fields", [{"pk": b"\x02" * 32}, {"pk": b""}, {"public_rendezvous_seed": b"short"}])
def test_malformed_contacts_are_the_peers_fault(fields: dict[str, bytes]) -> None:
    """A key that is no point of the curve, no key, and a seed of another length."""
    with pytest.raises(RemoteProtocolError):
        decode_contact(raw_contact(**fields))


@given(st.binary(max_size=120))
def test_any_contact_is_a_value_or_remote_error(data: bytes) -> None:
    """Arbitrary bytes give a ShareableContact that can be written again, or RemoteProtocolError."""
    try:
        contact = decode_contact(data)
    except RemoteProtocolError:
        return
    assert contact == decode_contact(encode_contact(contact))
