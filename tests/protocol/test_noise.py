"""Noise: recorded handshakes, published vectors, an independent implementation, and an attacker on the wire."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from berty_core.crypto.aead import ChaChaPoly, sha256
from berty_core.crypto.keys import Secret, x25519_pair
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.protocol.noise import (
    MAX_MESSAGE,
    MAX_NONCE,
    MAX_PLAINTEXT,
    NAMES,
    XX,
    XX_PSK0,
    CipherState,
    NoiseHandshake,
    NoiseMessages,
    NoiseTransport,
    encode_message,
)

RECORDED = json.loads(
    gzip.decompress((Path(__file__).parent.parent / "vectors" / "libp2p" / "noise.json.gz").read_bytes())
)["vectors"]

# From `vectors.txt` of the Go package flynn/noise; the third and fourth differ in prologue and payloads only.
INITIATOR_STATIC = Secret(range(32))
RESPONDER_STATIC = Secret(range(1, 33))
INITIATOR_EPHEMERAL = Secret(range(0x20, 0x40))
RESPONDER_EPHEMERAL = Secret(range(0x41, 0x61))
PSK = b"!verysecretverysecretverysecret!"
PROLOGUE = b"notsecret"
PAYLOADS = (b"test_msg_0", b"test_msg_1", b"test_msg_2")
EMPTY = (b"", b"", b"")
PUBLISHED = [
    (
        b"",
        None,
        PAYLOADS,
        "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254746573745f6d73675f30",
        "64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d484663414af878d3e46a2f58911a816d6e8346d4ea17a6f2a0bb4"
        "ef4ed56c133cff4572e7a2ba5123ac30618b3d205f5c2d17f50cbca216483ac56bcc78e33bf520303278db641e5e731b2e3a",
        "87f864c11ba449f46a0a4f4e2eacbb7b0457784f4fca1937f572c93603e9c4d9f27e318e43ba630594c4d08eeb3b36d97c7377a2f4f9144b"
        "2f0c8095ad92140505b2ab53eff244b14138",
        "a52ef02ba60e12696d1d6b9ef4245c88fca757b6134ad6e76b56e310a6adf6",
        "2445aa438ebd649281c636cc7269ca82f1d9023d72520943aeabf909cdf521",
    ),
    (
        PROLOGUE,
        None,
        EMPTY,
        "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254",
        "64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d484663414af878d3e46a2f58911a816d6e8346d4ea17a6f2a0bb4"
        "ef4ed56c133cff4588f043d1e49a3289b1beeab8f96b0551a48cddf9f38b1a12e46c6908644198f3",
        "87f864c11ba449f46a0a4f4e2eacbb7b0457784f4fca1937f572c93603e9c4d95a04fa1f1c41fb3f00d496f242c1e44ce5b749b3d54bf74c"
        "ea2dad086d601fb6",
        "a52ef02ba60e12696d1d6b9ef4245c88fca757b6134ad6e76b56e310a6adf6",
        "2445aa438ebd649281c636cc7269ca82f1d9023d72520943aeabf909cdf521",
    ),
    (
        b"",
        PSK,
        PAYLOADS,
        "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd1662547f533cf20723ac4407c8e51516d7c7382d8aa777424dba78"
        "813d",
        "64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d4846622df46c0ac1e0fc71795a84e37cc0e963d131c8e84c02cd5"
        "cfcfe8def3fe128b1146c1820dc4d08bf16b5c682badf2ef2dc6c1642ae7e8ae8c8e1e38a06064341a604c21b70227181c04",
        "462127adbe047db3d1fce0581b5447d99b606c591545a7719132e0c91fe93d122132c2cde2bc69209884f77756f265744111b0bfa4fdeb47"
        "04a42c7f8750279908327b545416cf81f828",
        "75fff8afebd2f14da1cac9cc5b5201395cdf2ad65f3a97804e360c16f4e2ac",
        "150cc85f79f9ca0f0730b8b4707805ed1969ff6b2770a5d466cd2754802805",
    ),
    (
        PROLOGUE,
        PSK,
        EMPTY,
        "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd16625454a218352d64c1f8c239416ccb542aec",
        "64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d4846622df46c0ac1e0fc71795a84e37cc0e963d131c8e84c02cd5"
        "cfcfe8def3fe128b58733b0ab529b3f48ed3fbe90840f1a27404f52be696831ccb795d1bdee31d33",
        "462127adbe047db3d1fce0581b5447d99b606c591545a7719132e0c91fe93d12fb91ca67cf72f381bab072bd9e6efef15706741665440848"
        "9b43ba2fb6173b66",
        "75fff8afebd2f14da1cac9cc5b5201395cdf2ad65f3a97804e360c16f4e2ac",
        "150cc85f79f9ca0f0730b8b4707805ed1969ff6b2770a5d466cd2754802805",
    ),
    (
        PROLOGUE,
        PSK,
        PAYLOADS,
        "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd1662547f533cf20723ac4407c87f43dc5dc6f6d1867a322a706af8"
        "1adb",
        "64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d4846622df46c0ac1e0fc71795a84e37cc0e963d131c8e84c02cd5"
        "cfcfe8def3fe128b59d623ffc18ae67b1acba43eb87910b02dc6c1642ae7e8ae8c8e861ed15d8d6b65ff99f73d8286cc9819",
        "462127adbe047db3d1fce0581b5447d99b606c591545a7719132e0c91fe93d1294b31017013e8ac0a697b42922a5fe204111b0bfa4fdeb47"
        "04a4b5492137b40088f810ee4d1a58882e25",
        "75fff8afebd2f14da1cac9cc5b5201395cdf2ad65f3a97804e360c16f4e2ac",
        "150cc85f79f9ca0f0730b8b4707805ed1969ff6b2770a5d466cd2754802805",
    ),
]
LOW_ORDER = [bytes(32), b"\x01" + bytes(31), bytes.fromhex("ecffffff" + "ff" * 27 + "7f")]


def pair(
    psk: bytes | None = None, prologue: bytes = b"", other_psk: bytes | None = None
) -> tuple[NoiseHandshake, NoiseHandshake]:
    """Two sides that have not spoken yet."""
    return (
        NoiseHandshake(True, INITIATOR_STATIC, INITIATOR_EPHEMERAL, prologue, psk),
        NoiseHandshake(False, RESPONDER_STATIC, RESPONDER_EPHEMERAL, prologue, other_psk or psk),
    )


def play(
    initiator: NoiseHandshake, responder: NoiseHandshake, payloads: tuple[bytes, ...] = PAYLOADS, until: int = 3
) -> list[bytes]:
    """Exchange the first `until` messages and return them."""
    messages = []
    for turn in range(until):
        writer, reader = (initiator, responder) if turn % 2 == 0 else (responder, initiator)
        messages.append(writer.write_message(payloads[turn]))
        assert reader.read_message(messages[-1]) == payloads[turn]
    return messages


def channel(psk: bytes | None = None) -> tuple[NoiseTransport, NoiseTransport]:
    """Two transports behind a finished handshake."""
    initiator, responder = pair(psk)
    play(initiator, responder)
    return NoiseTransport(*initiator.split()), NoiseTransport(*responder.split())


def dead(handshake: NoiseHandshake) -> bool:
    """Whether nothing can be got out of a handshake any more."""
    calls: list[Any] = [
        handshake.write_message,
        handshake.split,
        lambda: handshake.read_message(b"x" * 100),
        lambda: handshake.handshake_hash,
        lambda: handshake.remote_static,
    ]
    for call in calls:
        with pytest.raises(LocalProtocolError):
            call()
    return handshake.failed and not handshake.finished


@pytest.mark.parametrize("vector", RECORDED, ids=lambda vector: str(vector["source"]))
def test_recorded_handshakes_are_reproduced(vector: dict[str, Any]) -> None:
    """Our side of a conversation with go-libp2p comes out byte for byte, with every hash and chaining key."""
    ours = vector["our_role"] == "initiator"
    handshake = NoiseHandshake(
        ours,
        Secret.fromhex(vector["our_static_private"]),
        Secret.fromhex(vector["our_ephemeral_private"]),
        bytes.fromhex(vector["prologue"]),
    )
    for turn, (when, transcript, chaining_key) in enumerate(vector["trace_h_ck"]):
        if turn:
            message = bytes.fromhex(vector[f"message_{turn}"])
            payload = bytes.fromhex(vector[f"payload_{turn}"])
            if handshake.our_turn:
                assert handshake.write_message(payload) == message, when
            else:
                assert handshake.read_message(message) == payload, when
        assert handshake._symmetric.hash.hex() == transcript, when
        assert bytes(handshake._symmetric.chaining_key).hex() == chaining_key, when
    assert handshake.finished
    assert handshake.handshake_hash.hex() == vector["handshake_hash"]
    assert handshake.remote_static.hex() == vector["peer_static_public"]
    check_transport_keys(vector, ours, handshake)


def check_transport_keys(vector: dict[str, Any], initiator: bool, handshake: NoiseHandshake) -> None:
    """Both directions' keys seal as the recorded keys do."""
    send, receive = handshake.split()
    names = ("key_initiator_to_responder", "key_responder_to_initiator")
    keys = [ChaChaPoly(bytes.fromhex(vector[name])) for name in (names if initiator else names[::-1])]
    assert send.encrypt(b"out") == keys[0].seal(bytes(12), b"out", b"")
    assert receive.decrypt(keys[1].seal(bytes(12), b"in", b"")) == b"in"


@pytest.mark.parametrize("vector", PUBLISHED, ids=range(len(PUBLISHED)))
def test_published_vectors(vector: tuple[Any, ...]) -> None:
    """XX and XXpsk0 give the published messages in both roles, and the first two transport messages."""
    prologue, psk, payloads, *expected = vector
    initiator, responder = pair(psk, prologue)
    assert [message.hex() for message in play(initiator, responder, payloads)] == expected[:3]
    assert initiator.handshake_hash == responder.handshake_hash
    there, back = initiator.split(), responder.split()
    assert there[0].encrypt(b"yellowsubmarine").hex() == expected[3]
    assert back[0].encrypt(b"submarineyellow").hex() == expected[4]


@settings(max_examples=15, deadline=None)
@given(
    st.booleans(),
    st.none() | st.binary(min_size=32, max_size=32),
    st.binary(max_size=40),
    st.lists(st.binary(max_size=200), min_size=3, max_size=3),
    st.binary(max_size=8),
)
def test_independent_implementation_agrees(
    initiator: bool, psk: bytes | None, prologue: bytes, payloads: list[bytes], seed: bytes
) -> None:
    """The noiseprotocol package talks to us in either role, with and without a pre-shared key."""
    keys = [sha256(seed + bytes([number])) for number in range(4)]
    ours = NoiseHandshake(initiator, Secret(keys[0]), Secret(keys[1]), prologue, psk)
    theirs = NoiseConnection.from_name(NAMES[XX if psk is None else XX_PSK0])
    if psk is not None:
        theirs.set_psks(psk)
    theirs.set_prologue(prologue)
    (theirs.set_as_responder if initiator else theirs.set_as_initiator)()
    theirs.set_keypair_from_private_bytes(Keypair.STATIC, keys[2])
    theirs.set_keypair_from_private_bytes(Keypair.EPHEMERAL, keys[3])
    with pytest.warns(UserWarning, match="ephemeral keypairs is already set"):
        theirs.start_handshake()
    for payload in payloads:
        if ours.our_turn:
            assert bytes(theirs.read_message(ours.write_message(payload))) == payload
        else:
            assert ours.read_message(bytes(theirs.write_message(payload))) == payload
    assert ours.finished
    assert theirs.handshake_finished
    assert ours.handshake_hash == theirs.get_handshake_hash()
    assert ours.remote_static == x25519_pair(keys[2])[1]
    send, receive = ours.split()
    for _ in range(3):
        assert bytes(theirs.decrypt(send.encrypt(b"to them"))) == b"to them"
        assert receive.decrypt(bytes(theirs.encrypt(b"to us"))) == b"to us"


@pytest.mark.parametrize("psk", [None, PSK], ids=["XX", "XXpsk0"])
@pytest.mark.parametrize("turn", range(3))
def test_every_flipped_byte_is_refused(psk: bytes | None, turn: int) -> None:
    """No byte of any message can be changed: the handshake dies at that message or at the next one."""
    initiator, responder = pair(psk)
    play(initiator, responder, until=turn)
    writer = initiator if turn % 2 == 0 else responder
    message = writer.write_message(PAYLOADS[turn])
    for position in range(len(message)):
        initiator, responder = pair(psk)
        play(initiator, responder, until=turn)
        writer, reader = (initiator, responder) if turn % 2 == 0 else (responder, initiator)
        writer.write_message(PAYLOADS[turn])
        changed = bytearray(message)
        changed[position] ^= 1 << position % 8
        if psk is None and turn == 0:
            reader.read_message(bytes(changed))  # the first message of plain XX is not authenticated by itself
            with pytest.raises(RemoteProtocolError):
                writer.read_message(reader.write_message(b""))
            assert dead(writer)
            continue
        with pytest.raises(RemoteProtocolError):
            reader.read_message(bytes(changed))
        assert dead(reader)


@pytest.mark.parametrize("psk", [None, PSK], ids=["XX", "XXpsk0"])
@pytest.mark.parametrize("turn", range(3))
def test_truncated_or_padded_messages_are_refused(psk: bytes | None, turn: int) -> None:
    """Every prefix of a message, and the message with a byte more, is refused."""
    initiator, responder = pair(psk)
    play(initiator, responder, until=turn)
    message = (initiator if turn % 2 == 0 else responder).write_message(b"")
    for wrong in [message[:length] for length in range(len(message))] + [message + b"\0"]:
        initiator, responder = pair(psk)
        play(initiator, responder, until=turn)
        writer, reader = (initiator, responder) if turn % 2 == 0 else (responder, initiator)
        writer.write_message(b"")
        if psk is None and turn == 0 and len(wrong) >= 32:
            assert reader.read_message(wrong) == wrong[32:]  # the payload of plain XX's first message is in clear
            continue
        with pytest.raises(RemoteProtocolError):
            reader.read_message(wrong)
        assert dead(reader)


@pytest.mark.parametrize("psk", [None, PSK], ids=["XX", "XXpsk0"])
def test_reflected_messages_are_refused(psk: bytes | None) -> None:
    """Our own message sent back to us is refused, also where it is long enough to be an answer."""
    initiator, _ = pair(psk)
    first = initiator.write_message(b"p" * 200)
    with pytest.raises(RemoteProtocolError, match="our own ephemeral"):
        initiator.read_message(first)
    assert dead(initiator)
    initiator, responder = pair(psk)
    play(initiator, responder, until=1)
    second = responder.write_message(b"p" * 200)
    with pytest.raises(RemoteProtocolError):
        responder.read_message(second)
    assert dead(responder)


def test_replayed_messages_of_another_session_are_refused() -> None:
    """What an initiator said to one responder does not work on the same responder with a fresh ephemeral key."""
    initiator, responder = pair(PSK)
    first, _, third = play(initiator, responder)
    again = NoiseHandshake(False, RESPONDER_STATIC, Secret(b"e" * 32), psk=PSK)
    again.read_message(first)
    again.write_message(b"")
    with pytest.raises(RemoteProtocolError):
        again.read_message(third)
    assert dead(again)


@pytest.mark.parametrize("other", [b"w" * 32, None], ids=["wrong psk", "no psk"])
def test_a_stranger_hears_nothing(other: bytes | None) -> None:
    """Who dials with a wrong pre-shared key, or none, is refused before we have written a byte."""
    stranger = NoiseHandshake(True, INITIATOR_STATIC, INITIATOR_EPHEMERAL, psk=other)
    responder = NoiseHandshake(False, RESPONDER_STATIC, RESPONDER_EPHEMERAL, psk=PSK)
    with pytest.raises(RemoteProtocolError):
        responder.read_message(stranger.write_message(b"hello"))
    assert dead(responder)


def test_different_prologues_do_not_meet() -> None:
    """Two sides that disagree about what came before the handshake fail."""
    initiator = NoiseHandshake(True, INITIATOR_STATIC, INITIATOR_EPHEMERAL, b"one")
    responder = NoiseHandshake(False, RESPONDER_STATIC, RESPONDER_EPHEMERAL, b"two")
    responder.read_message(initiator.write_message())
    with pytest.raises(RemoteProtocolError):
        initiator.read_message(responder.write_message())


@pytest.mark.parametrize("point", LOW_ORDER, ids=["zero", "one", "p-1"])
@pytest.mark.parametrize("psk", [None, PSK], ids=["XX", "XXpsk0"])
def test_low_order_keys_are_refused(point: bytes, psk: bytes | None) -> None:
    """An ephemeral key that would give an all-zero secret ends the handshake on either side, with nothing written."""
    initiator, responder = pair(psk)
    if psk is None:
        responder.read_message(point)
        with pytest.raises(RemoteProtocolError):
            responder.write_message(b"")
        assert dead(responder)
    initiator.write_message()
    with pytest.raises(RemoteProtocolError):
        initiator.read_message(point + bytes(200))
    assert dead(initiator)


def test_calls_out_of_turn_are_our_fault_and_change_nothing() -> None:
    """Writing or reading out of turn, splitting early or twice, or a wrong key length is a LocalProtocolError."""
    initiator, responder = pair()
    calls: list[Any] = [
        lambda: initiator.read_message(b""),
        responder.write_message,
        initiator.split,
        lambda: initiator.handshake_hash,
        lambda: initiator.remote_static,
        lambda: NoiseHandshake(True, Secret(b"short"), INITIATOR_EPHEMERAL),
        lambda: NoiseHandshake(True, INITIATOR_STATIC, INITIATOR_EPHEMERAL, psk=b"short"),
        lambda: initiator.write_message(bytes(MAX_MESSAGE)),
    ]
    for call in calls:
        with pytest.raises(LocalProtocolError):
            call()
    play(initiator, responder)
    initiator.split()
    with pytest.raises(LocalProtocolError):
        initiator.split()
    assert initiator.finished
    assert not initiator.our_turn


def test_secrets_do_not_show() -> None:
    """No repr of a handshake, cipher or transport holds key bytes, and a finished handshake has let go of its keys."""
    initiator, responder = pair(PSK)
    play(initiator, responder)
    send, receive = initiator.split()
    texts = [repr(thing) for thing in (initiator, responder, send, NoiseTransport(send, receive), send._cipher)]
    for secret in (INITIATOR_STATIC, INITIATOR_EPHEMERAL, Secret(PSK)):
        assert not any(bytes(secret).hex()[:8] in text or str(bytes(secret))[2:10] in text for text in texts)
    assert initiator._static == initiator._ephemeral == b""
    assert initiator._psk is None


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.none() | st.just(PSK), st.integers(0, 2), st.binary(max_size=300))
def test_any_handshake_bytes_give_a_value_or_a_remote_error(
    initiator: bool, psk: bytes | None, turn: int, data: bytes
) -> None:
    """Arbitrary bytes never raise anything but RemoteProtocolError, whoever reads them and when."""
    sides = pair(psk)
    play(*sides, until=turn)
    reader = sides[0] if initiator and turn < 2 else sides[1]
    if reader.our_turn:
        reader.write_message()
    try:
        assert isinstance(reader.read_message(data), bytes)
    except RemoteProtocolError:
        assert dead(reader)


def test_nonces_end() -> None:
    """The last nonce is never used: sealing then is our fault, opening the peer's."""
    cipher = CipherState(bytes(32))
    cipher._nonce = MAX_NONCE - 1
    cipher.encrypt(b"last")
    with pytest.raises(LocalProtocolError):
        cipher.encrypt(b"one more")
    with pytest.raises(RemoteProtocolError):
        cipher.decrypt(bytes(16))


def test_messages_are_cut_one_at_a_time() -> None:
    """Handshake messages come out one by one and the transport's first bytes stay behind them."""
    reader = NoiseMessages(limit=10)
    stream = encode_message(b"one") + encode_message(b"") + encode_message(b"0123456789") + b"\xff\xff rest"
    found = []
    for position in range(len(stream)):
        reader.feed(stream[position : position + 1])
        while len(found) < 3 and (message := reader.next()) is not None:
            found.append(message)
    assert found == [b"one", b"", b"0123456789"]
    with pytest.raises(RemoteProtocolError, match="65535 bytes, the limit is 10"):
        reader.next()
    assert reader.rest() == b"\xff\xff rest"
    with pytest.raises(LocalProtocolError):
        encode_message(bytes(MAX_MESSAGE + 1))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 300) | st.sampled_from([MAX_PLAINTEXT - 1, MAX_PLAINTEXT, MAX_PLAINTEXT + 1, 200_000])),
    st.lists(st.integers(1, 70_000), min_size=1, max_size=6),
)
def test_transport_carries_any_sizes_through_any_cuts(sizes: list[int], cuts: list[int]) -> None:
    """What is sent arrives, however the wire cuts it; no more than one unfinished message is kept."""
    sender, receiver = channel()
    plain = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    wire = b"".join(map(sender.send, plain))
    received = bytearray()
    position, turn = 0, 0
    while position < len(wire):
        received += receiver.receive(wire[position : position + cuts[turn % len(cuts)]])
        assert receiver.pending < 2 + MAX_MESSAGE
        position += cuts[turn % len(cuts)]
        turn += 1
    assert bytes(received) == b"".join(plain)
    assert receiver.pending == 0


def test_transport_splits_at_the_limit() -> None:
    """65,519 bytes of plaintext fill one message of 65,535; nothing makes no message."""
    sender, receiver = channel()
    assert sender.send(b"") == b""
    assert sender.send(bytes(MAX_PLAINTEXT))[:2] == b"\xff\xff"
    wire = sender.send(bytes(MAX_PLAINTEXT + 1))
    assert len(wire) == MAX_PLAINTEXT + 1 + 2 * 18
    with pytest.raises(RemoteProtocolError):
        receiver.receive(wire)  # the first message has not come


def test_transport_opens_what_came_behind_the_handshake() -> None:
    """Bytes that came with the last handshake message are opened by the first receive."""
    initiator, responder = pair()
    play(initiator, responder)
    sender = NoiseTransport(*initiator.split())
    early = sender.send(b"hello") + sender.send(b" world")
    receiver = NoiseTransport(*responder.split(), early=early[:-1])
    assert receiver.receive(b"") == b"hello"
    assert receiver.receive(early[-1:]) == b" world"


@pytest.mark.parametrize("position", range(2 + 5 + 16))
def test_transport_refuses_changed_bytes_and_stays_dead(position: int) -> None:
    """A changed byte is refused, or leaves a message waiting; nothing of it comes out, and an error is final."""
    sender, receiver = channel()
    wire = bytearray(sender.send(b"hello"))
    wire[position] ^= 0x10
    try:
        assert receiver.receive(bytes(wire)) == b""
        assert receiver.pending == len(wire)
    except RemoteProtocolError:
        with pytest.raises(LocalProtocolError):
            receiver.receive(sender.send(b"again"))


@pytest.mark.parametrize("length", range(16))
def test_transport_refuses_messages_without_a_tag_by_their_length(length: int) -> None:
    """A message that could not even hold its tag is refused before its bytes come."""
    with pytest.raises(RemoteProtocolError, match="shorter than its tag"):
        channel()[1].receive(length.to_bytes(2, "big"))


def test_transport_refuses_reflection_and_replay() -> None:
    """Our own sealed bytes do not open on our side, and no message opens twice."""
    sender, receiver = channel()
    wire = sender.send(b"hello")
    with pytest.raises(RemoteProtocolError):
        sender.receive(wire)
    assert receiver.receive(wire) == b"hello"
    with pytest.raises(RemoteProtocolError):
        receiver.receive(wire)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=200)))
def test_transport_takes_any_bytes(chunks: list[bytes]) -> None:
    """Arbitrary bytes give nothing or RemoteProtocolError, and at most one message's worth is kept."""
    _, receiver = channel()
    for chunk in chunks:
        try:
            assert receiver.receive(chunk) == b""
        except RemoteProtocolError:
            return
        assert receiver.pending <= 2 + MAX_MESSAGE
