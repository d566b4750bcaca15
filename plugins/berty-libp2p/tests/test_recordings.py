"""Whole recorded conversations with Kubo and weshnet, replayed against the connection: the same bytes, cut anyhow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from berty_libp2p.connection import (
    Connected,
    Connection,
    Event,
    State,
    StreamAccepted,
    StreamAgreed,
    StreamData,
    StreamEnded,
)
from berty_libp2p.multistream import HEADER as MULTISTREAM
from berty_libp2p.multistream import encode_token
from berty_libp2p.peers import PeerId

from berty_core.crypto.keys import PrivateKey, Secret
from berty_core.errors import RemoteProtocolError
from berty_core.protocol.noise import CipherState, NoiseTransport, encode_message
from berty_core.protocol.yamux_stream import DATA, FIN, HEADER, HEADER_LENGTH, RST, WINDOW_UPDATE


class Replay:
    """Our side of one recorded connection, with what it was told and what it said."""

    def __init__(self, recorded: dict[str, Any], cut: int | None = None, expected: PeerId | None = None) -> None:
        our = recorded["our"]
        self.recorded = recorded
        self.cut = cut
        self.initiator = recorded["we"] == "dialer"
        self.connection = Connection(
            self.initiator,
            PrivateKey(bytes.fromhex(our["identity_seed"])),
            lambda protocol: protocol in our["accepts"],
            Secret(bytes.fromhex(our["noise_static_private"])),
            Secret(bytes.fromhex(our["noise_ephemeral_private"])),
            0.0,
            expected=expected,
            early_muxer=bool(our["muxers_offered"]),
        )
        self.events: list[Event] = []
        self.written: list[bytes] = []
        self.to_send = {stream["sid"]: bytes.fromhex(stream["out"]) for stream in recorded["streams"]}
        self.chunks = [(kind, time / 1000, bytes.fromhex(data)) for kind, time, data in recorded["chunks"]]

    def run(self) -> Replay:
        """Do everything that was done."""
        for kind, *rest in self.recorded["ops"]:
            getattr(self, "op_" + kind)(*rest)
        return self

    def op_take(self, _number: int) -> None:
        self.written.append(self.connection.take())

    def op_feed(self, number: int) -> None:
        kind, time, data = self.chunks[number]
        assert kind == "in"
        size = self.cut or len(data)
        for begin in range(0, len(data), size):
            self.events += self.connection.receive(data[begin : begin + size], time)

    def op_open(self, number: int, protocols: list[str]) -> None:
        assert self.connection.open_stream(protocols[0]) == number

    def op_send(self, number: int, what: int | str) -> None:
        size = what if isinstance(what, int) else len(what) // 2
        data, self.to_send[number] = self.to_send[number][:size], self.to_send[number][size:]
        self.connection.send(number, data if isinstance(what, int) else bytes.fromhex(what))

    def op_close(self, number: int) -> None:
        self.connection.finish(number)

    def op_reset(self, number: int) -> None:
        self.connection.reset(number)

    def received(self) -> dict[int, bytes]:
        """What came on each stream."""
        found: dict[int, bytes] = defaultdict(bytes)
        for event in self.events:
            if isinstance(event, StreamData):
                found[event.stream] += event.data
        return found

    def handshake(self) -> bytes:
        """What we wrote up to the end of the Noise handshake, put together from its recorded parts."""
        tokens = self.recorded["mss"]["dialer" if self.initiator else "listener"]
        noise = self.recorded["handshake"]
        messages = [noise["message_1"], noise["message_3"]] if self.initiator else [noise["message_2"]]
        said = [encode_token(token.removesuffix("\n")) for token in tokens]
        return b"".join(said + [encode_message(bytes.fromhex(message)) for message in messages])


def frames(plaintext: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The yamux frames that we wrote: type, flags, stream and payload."""
    position = 0
    while position < len(plaintext):
        _, kind, flags, number, length = HEADER.unpack_from(plaintext, position)
        position += HEADER_LENGTH
        payload = plaintext[position : position + length] if kind == DATA else b""
        position += len(payload)
        yield kind, flags, number, payload


def opened(replay: Replay) -> bytes:
    """What we wrote behind the handshake, without Noise and the choice of the muxer."""
    wire = b"".join(replay.written)[len(replay.handshake()) :]
    role = "initiator_to_responder" if replay.initiator else "responder_to_initiator"
    key = bytes.fromhex(replay.recorded["handshake"][f"key_{role}"])
    plaintext = NoiseTransport(CipherState(key), CipherState(key)).receive(wire)
    if replay.recorded["muxer"]["early"] is None:
        choice = encode_token(MULTISTREAM) + encode_token("/yamux/1.0.0")
        assert plaintext.startswith(choice)
        plaintext = plaintext[len(choice) :]
    return plaintext


@pytest.fixture(params=[0, 1])
def connection(request: pytest.FixtureRequest, recording: dict[str, Any]) -> dict[str, Any]:
    """One recorded connection: with the muxer agreed inside the handshake (0), and by a second round (1)."""
    found: dict[str, Any] = recording["connections"][request.param]
    return found


@pytest.mark.parametrize("cut", [None, 1, 7, 100])
def test_everything_that_came_is_understood(connection: dict[str, Any], cut: int | None) -> None:
    """Peer id, protocols, every byte of every stream and each end are as recorded, however the chunks are cut."""
    peer = PeerId.parse(connection["peer"]["peer_id"])
    replay = Replay(connection, cut, expected=peer).run()
    assert replay.events[0] == Connected(peer)
    assert replay.connection.peer == peer
    agreed = {e.stream: e.protocol for e in replay.events if isinstance(e, StreamAccepted | StreamAgreed)}
    received = replay.received()
    ends = {
        event.stream: "in RST" if event.reset else "in FIN" for event in replay.events if isinstance(event, StreamEnded)
    }
    ours_first = {stream["sid"] for stream in connection["streams"] if stream["end"][:1] == ["out RST"]}
    for stream in connection["streams"]:
        number = stream["sid"]
        if stream["protocol"] is None:
            assert number not in agreed
            continue
        assert agreed[number] == stream["protocol"]
        assert received[number] == bytes.fromhex(stream["in"])
        wanted = next((end for end in stream["end"] if end.startswith("in")), None)
        assert ends.get(number) == wanted or number in ours_first


def test_the_handshake_is_the_same_byte_for_byte(connection: dict[str, Any]) -> None:
    """With the recorded keys our side of negotiation and Noise is what was recorded."""
    replay = Replay(connection).run()
    assert b"".join(replay.written).startswith(replay.handshake())
    recorded = b"".join(data for kind, _, data in replay.chunks if kind == "out")
    assert recorded.startswith(replay.handshake())


def test_what_we_say_on_each_stream_is_the_same(connection: dict[str, Any]) -> None:
    """Decrypted, our frames carry the negotiation and the bytes that were recorded, and end as they did."""
    replay = Replay(connection).run()
    said: dict[int, bytes] = defaultdict(bytes)
    flags: dict[int, int] = defaultdict(int)
    for kind, flag, number, payload in frames(opened(replay)):
        if kind in (DATA, WINDOW_UPDATE):
            said[number] += payload
            flags[number] |= flag
    for stream in connection["streams"]:
        tokens = stream["negotiation_dialer" if stream["opened_by"] == "us" else "negotiation_listener"]
        expected = b"".join(encode_token(token.removesuffix("\n")) for token in tokens) + bytes.fromhex(stream["out"])
        data = said[stream["sid"]]
        if stream["protocol"] is None:
            assert data in (b"", encode_token(MULTISTREAM), expected)
        elif stream["protocol"] == "/ipfs/ping/1.0.0" and stream["opened_by"] == "peer":
            assert expected.startswith(data)  # the peer may be gone before the echo
        else:
            assert data == expected
            assert bool(flags[stream["sid"]] & FIN) == ("out FIN" in stream["end"])
            assert bool(flags[stream["sid"]] & RST) == ("out RST" in stream["end"])


def feed_handshake(connection: dict[str, Any], change: dict[int, bytes]) -> State:
    """Play the peer's handshake with some chunks changed; the state that is reached."""
    replay = Replay(connection)
    replay.connection.take()
    for number, (kind, time, data) in enumerate(replay.chunks):
        if kind == "in":
            replay.connection.receive(change.get(number, data), time)
        replay.connection.take()
        if number > 8 or replay.connection.state is State.OPEN:
            break
    return replay.connection.state


def test_one_flipped_bit_in_the_handshake_brings_no_link_up(connection: dict[str, Any]) -> None:
    """Whichever byte of negotiation or Noise is changed, we refuse, or wait for what never comes."""
    replay = Replay(connection)
    first = min(frame["chunk"] for frame in connection["noise"] if frame["dir"] == "in")
    last = max(number for number, (kind, _, _) in enumerate(replay.chunks[:first]) if kind == "in")
    assert feed_handshake(connection, {}) is State.OPEN
    for number, (kind, _, data) in enumerate(replay.chunks[: last + 1]):
        for position in range(len(data) if kind == "in" else 0):
            if replay.initiator and number == last and position >= 512:
                break
            if (refused := data.find(b"/tls/1.0.0")) >= 0 and refused <= position < refused + 10:
                continue  # another protocol that is not spoken is refused like this one, and the link comes up
            changed = bytearray(data)
            changed[position] ^= 1 << position % 8
            try:
                state = feed_handshake(connection, {number: bytes(changed)})
            except RemoteProtocolError:
                continue
            assert state is not State.OPEN, (number, position)


def test_every_single_cut_of_the_handshake(recording: dict[str, Any]) -> None:
    """The peer's first chunks may be cut in two at any place."""
    connection = recording["connections"][1]
    plain = Replay(connection)
    incoming = [number for number, (kind, _, _) in enumerate(plain.chunks) if kind == "in"][:3]
    for number in incoming:
        for position in range(1, len(plain.chunks[number][2])):
            replay = Replay(connection)
            replay.connection.take()
            for other, (kind, time, data) in enumerate(replay.chunks[: incoming[-1] + 1]):
                if kind == "in":
                    parts = (data[:position], data[position:]) if other == number else (data,)
                    for part in parts:
                        replay.events += replay.connection.receive(part, time)
                replay.connection.take()
            assert replay.connection.state in (State.OPEN, State.MUXER, State.NOISE)
            assert replay.connection.state is not State.SECURITY


def test_a_peer_that_is_not_the_expected_one_is_refused(connection: dict[str, Any]) -> None:
    """A wrong peer id ends the link, in words that name both."""
    other = PeerId.of(PrivateKey(bytes(32)).public)
    with pytest.raises(RemoteProtocolError, match=r"answers where 12D3KooW\w+ was expected"):
        Replay(connection, expected=other).run()
