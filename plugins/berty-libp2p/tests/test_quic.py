"""QUIC connections in memory: who is there is proved, windows hold, and whatever a stranger sends ends nothing else."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from berty_libp2p.connection import HANDSHAKE_TIMEOUT
from berty_libp2p.peers import PeerId
from berty_libp2p.streams import (
    MAX_NEGOTIATIONS,
    NEGOTIATION_TIMEOUT,
    Connected,
    Event,
    StreamAccepted,
    StreamAgreed,
    StreamData,
    StreamEnded,
    StreamUnread,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.crypto.keys import PrivateKey
from berty_core.errors import LocalProtocolError, RemoteProtocolError

pytest.importorskip("aioquic", reason="QUIC is an extra: pip install 'berty-libp2p[quic]'")
from aioquic import tls
from aioquic.quic.connection import QuicConnection as Aioquic
from aioquic.quic.packet import QuicPacketType, pull_quic_header
from aioquic.quic.packet_builder import QuicPacketBuilder
from berty_libp2p import quic_engine
from berty_libp2p.quic import (
    KEEPALIVE,
    MAX_HANDSHAKES,
    PATIENCE,
    RETRY_FROM,
    QuicConnection,
    QuicParty,
    QuicServer,
)
from berty_libp2p.quic_engine import (
    CONNECTION_WINDOW,
    IDLE_TIMEOUT,
    MAX_STREAMS,
    STREAM_WINDOW,
    missing_names,
)

ONE, TWO = PrivateKey(bytes(32)), PrivateKey(bytes([1]) * 32)
UNIX = 1_800_000_000.0
CLIENT, SERVER = ("127.0.0.1", 1000), ("127.0.0.1", 2000)


def speaks(protocol: str) -> bool:
    return protocol in ("/a", "/b")


def party(key: PrivateKey) -> QuicParty:
    return QuicParty(key, os.urandom, speaks)


class Net:
    """A client, a server, and the network between them, with a clock of its own."""

    def __init__(
        self,
        *,
        expected: PeerId | None = None,
        client: PrivateKey = ONE,
        change: Callable[[QuicConnection], None] = lambda _: None,
        change_server: Callable[[QuicConnection], None] = lambda _: None,
        keep: Callable[[bytes], bool] = lambda _: True,
        use: bool = True,
    ) -> None:
        self.now = 0.0
        self.server = QuicServer(party(TWO))
        self.client = party(client).dial(SERVER, expected, self.now, UNIX)
        change(self.client)
        self.accepted: QuicConnection | None = None
        self.events: tuple[list[Event], list[Event]] = ([], [])
        self.failed: list[str] = ["", ""]
        self.sent = [0, 0]
        self.change_server = change_server
        self.keep = keep
        self.use = use
        self.client_address = CLIENT

    @property
    def ends(self) -> tuple[QuicConnection, QuicConnection]:
        assert self.accepted is not None
        return self.client, self.accepted

    def settle(self, until: float | None = None) -> None:
        """Let everything arrive that arrives by itself in a second, or until a time."""
        limit = self.now + 1.0 if until is None else until
        while self.now <= limit:
            if self.exchange():
                continue
            dues = [end.timeout() for side, end in enumerate((self.client, self.accepted)) if self.lives(side, end)]
            due = min((time for time in dues if time is not None), default=limit + 1)
            if due > limit:
                break
            self.now = max(due, self.now + 0.0001)
            self.wake()
        self.now = max(self.now, limit)

    def lives(self, side: int, end: QuicConnection | None) -> bool:
        return end is not None and not self.failed[side]

    def wake(self) -> None:
        for side, end in enumerate((self.client, self.accepted)):
            if end is not None and not self.failed[side]:
                self.take(side, lambda end=end: end.wake(self.now))  # type: ignore[misc]

    def exchange(self) -> bool:
        """Deliver what is under way; whether there was anything."""
        moved = False
        for data, _ in self.client.take(self.now):
            moved = True
            self.sent[0] += len(data)
            if self.keep(data):
                self.to_server(data, self.client_address)
        answers = self.server.take()
        if self.accepted is not None:
            answers += self.accepted.take(self.now)
            self.server.update(self.accepted)
            named = {one.cid for one in self.accepted._engine._host_cids if one.was_sent}
            assert named <= self.server._by_id.keys()
        for data, address in answers:
            moved = True
            self.sent[1] += len(data)
            if self.keep(data) and address == self.client_address and not self.failed[0]:
                self.take(0, lambda data=data: self.client.receive(data, SERVER, self.now))  # type: ignore[misc]
        return moved

    def to_server(self, data: bytes, address: Any) -> None:
        connection = self.server.receive(data, address, self.now, UNIX)
        if connection is None:
            return
        if self.accepted is None:
            self.change_server(connection)
            self.accepted = connection
        if connection is self.accepted and not self.failed[1]:
            self.take(1, lambda: connection.receive(data, address, self.now))

    def take(self, side: int, act: Callable[[], list[Event]]) -> None:
        try:
            events = act()
        except RemoteProtocolError as error:
            self.failed[side] = str(error)
            return
        self.events[side].extend(events)
        for event in events:
            if self.use and isinstance(event, StreamData):
                self.ends[side].consumed(event.stream, len(event.data))

    def received(self, side: int, stream: int) -> bytes:
        return b"".join(e.data for e in self.events[side] if isinstance(e, StreamData) and e.stream == stream)


def opened(**options: Any) -> Net:
    net = Net(**options)
    net.settle()
    assert net.failed == ["", ""]
    return net


# -- what is used of aioquic ---------------------------------------------------------------------


def test_aioquic_has_what_is_used_of_it() -> None:
    """A version of aioquic without one of its internals that are used here is named by what it lacks."""
    assert missing_names() == [], "aioquic has changed: berty_libp2p/quic_engine.py is to be looked through"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of a method, an attribute, and a part of another object."""
    monkeypatch.setattr(
        quic_engine, "PRIVATE", (*quic_engine.PRIVATE, "QuicConnection.tls._gone", "QuicStream.gone.away")
    )
    monkeypatch.delattr(Aioquic, "_write_stream_limits")
    gone = ["QuicConnection._write_stream_limits", "QuicConnection.tls._gone", "QuicStream.gone.away"]
    assert missing_names() == gone


# -- who is there ------------------------------------------------------------------------------


def test_two_ends_meet_and_talk() -> None:
    """Each proves who it is, and a stream carries both ways and ends."""
    net = opened(expected=PeerId.of(TWO.public))
    assert net.events[0] == [Connected(PeerId.of(TWO.public))]
    assert net.events[1] == [Connected(PeerId.of(ONE.public))]
    number = net.client.open_stream("/a")
    net.client.send(number, b"question")
    net.client.finish(number)
    net.settle()
    assert StreamAccepted(number, "/a") in net.events[1] and StreamAgreed(number, "/a") in net.events[0]
    assert net.received(1, number) == b"question"
    assert net.events[1][-1] == StreamEnded(number, reset=False)
    net.ends[1].send(number, b"answer")
    net.ends[1].finish(number)
    net.settle()
    assert net.received(0, number) == b"answer"
    assert [end.streams for end in net.ends] == [0, 0]
    assert [len(end._engine._streams) for end in net.ends] == [0, 0]


def test_another_peer_is_refused_and_learns_nothing() -> None:
    """Who dials one peer and finds another goes, in words, before it has shown its own certificate."""
    net = Net(expected=PeerId.of(ONE.public), client=PrivateKey(bytes([2]) * 32))
    net.settle()
    assert net.failed[0] == f"{PeerId.of(TWO.public)} answers where {PeerId.of(ONE.public)} was expected"
    assert net.accepted is not None and net.accepted.peer is None
    assert net.accepted._engine.certificates == []
    assert net.failed[1] == "the TLS handshake failed: bad certificate"


def test_ourselves() -> None:
    """Whoever meets itself goes."""
    net = Net(client=TWO)
    net.settle()
    assert net.failed[0] == "this is ourselves"


def without_certificate(connection: QuicConnection) -> None:
    connection._engine.tls.certificate = None


def with_two_certificates(connection: QuicConnection) -> None:
    connection._engine.tls.certificate_chain = [party(TWO).credentials.certificate]


def with_a_stolen_certificate(connection: QuicConnection) -> None:
    connection._engine.tls.certificate = party(TWO).credentials.certificate


def with_another_protocol(connection: QuicConnection) -> None:
    engine = connection._engine
    engine.tls._alpn_protocols = ["h3"]
    engine.tls.state = tls.State.CLIENT_HANDSHAKE_START
    for buffer in engine._crypto_buffers.values():
        buffer.seek(0)
    engine._crypto_streams = {epoch: type(stream)() for epoch, stream in engine._crypto_streams.items()}
    engine.tls.handle_message(b"", engine._crypto_buffers)
    engine._push_crypto_data()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_certificate, "the peer shows 0 certificates"),
        (with_two_certificates, "the peer shows 2 certificates"),
        (with_a_stolen_certificate, "TLS handshake failed: decrypt error"),
    ],
)
def test_a_dialler_that_proves_nothing(change: Callable[[QuicConnection], None], words: str) -> None:
    """Without a certificate of its own nobody gets a connection, whatever the dialler itself believes."""
    net = Net(change=change)
    net.settle()
    assert net.accepted is not None and net.accepted.peer is None and not net.events[1]
    assert words in net.failed[1]
    assert net.failed[0] != ""


def test_another_protocol_than_libp2p() -> None:
    """A dialler that speaks something else over QUIC is told so."""
    net = Net(change=with_another_protocol)
    net.settle()
    assert net.failed[0] == "the peer does not speak libp2p over QUIC"
    assert net.accepted is not None and net.accepted.peer is None


def without_protocol(connection: QuicConnection) -> None:
    connection._engine._configuration.alpn_protocols = None


def test_a_listener_that_does_not_say_libp2p() -> None:
    """A server that takes any protocol is none of libp2p's."""
    net = Net(change_server=without_protocol)
    net.settle()
    assert net.failed[0] == "the peer does not speak libp2p over QUIC" and not net.events[0]


# -- time --------------------------------------------------------------------------------------


def test_an_unfinished_handshake_ends() -> None:
    """On both sides, when its time is over, in words."""
    silent = Net(keep=lambda _: False)
    silent.settle(HANDSHAKE_TIMEOUT + 1)
    assert "still in the QUIC handshake" in silent.failed[0]
    lost = Net()
    lost.exchange()
    lost.keep = lambda _: False
    lost.settle(HANDSHAKE_TIMEOUT + 1)
    assert "still in the QUIC handshake" in lost.failed[1]


def test_silence_ends_a_connection_and_pings_keep_it() -> None:
    """Two that have nothing to say stay connected; one whose peer is gone is told so."""
    net = opened()
    net.settle(10 * IDLE_TIMEOUT)
    assert net.failed == ["", ""]
    net.keep = lambda _: False
    net.settle(net.now + KEEPALIVE + IDLE_TIMEOUT + 1)
    assert net.failed == [f"nothing was heard from the peer for {IDLE_TIMEOUT:g} s"] * 2


def test_a_peer_in_doubt_is_asked() -> None:
    """One that answers stays; one that does not is gone long before silence alone would tell."""
    net = opened()
    net.client.doubt(net.now)
    net.settle(net.now + 2 * PATIENCE)
    assert net.failed == ["", ""]
    net.keep = lambda _: False
    net.client.doubt(net.now)
    net.settle(net.now + PATIENCE - 1)
    net.client.doubt(net.now)  # which gives it no more time
    net.settle(net.now + 1.1)
    assert net.failed == ["the peer is gone: it does not answer", ""]


def test_a_goodbye_is_heard() -> None:
    """The other side of a connection that is closed knows at once."""
    net = opened()
    net.client.close()
    net.exchange()
    assert net.failed[1] == "the peer closed the QUIC connection"
    assert not net.client.is_open
    with pytest.raises(LocalProtocolError):
        net.client.open_stream("/a")


def test_what_came_before_the_end_is_told() -> None:
    """Data in the datagram that also closes the connection is handed on first."""
    net = opened()
    number = net.client.open_stream("/a")
    net.client.send(number, b"last words")
    datagrams = [data for data, _ in net.client.take(net.now)]
    net.client.close()
    datagrams += [data for data, _ in net.client.take(net.now)]
    for data in datagrams:
        net.ends[1]._engine.receive_datagram(data, CLIENT, net.now)
    net.take(1, lambda: net.ends[1].wake(net.now))
    assert net.received(1, number) == b"last words" and not net.failed[1]
    assert net.ends[1].timeout() == net.now
    net.wake()
    assert net.failed[1] == "the peer closed the QUIC connection"


# -- streams -----------------------------------------------------------------------------------


def test_a_protocol_that_is_not_spoken() -> None:
    """Only that stream ends, with the reason in words, and the next one works."""
    net = opened()
    refused = net.client.open_stream("/c")
    net.settle()
    ended = net.events[0][-1]
    assert isinstance(ended, StreamEnded) and ended.stream == refused and "does not speak /c" in ended.reason
    number = net.ends[1].open_stream("/b")
    net.ends[1].send(number, b"on")
    net.settle()
    assert net.received(0, number) == b"on"
    assert net.client.streams == 1


def test_a_reset_ends_both_ways() -> None:
    """Who resets a stream hears nothing more of it, and the other side knows; sending on it is quiet."""
    net = opened()
    number = net.client.open_stream("/a")
    net.client.send(number, b"x")
    net.settle()
    net.client.reset(number)
    net.ends[1].send(number, b"y" * 1000)
    net.settle()
    assert net.events[1][-1] == StreamEnded(number, reset=True)
    assert net.received(0, number) == b""
    net.ends[1].send(number, b"z")
    net.ends[1].finish(number)
    net.ends[1].reset(number)
    net.settle()
    assert net.failed == ["", ""] and [len(end._engine._streams) for end in net.ends] == [0, 0]


def test_a_peer_that_takes_no_more() -> None:
    """Closing for reading, as Go does with every stream that it closes, is told, and what it sends still comes."""
    net = opened()
    number = net.client.open_stream("/a")
    net.client.send(number, b"x")
    net.settle()
    net.ends[1]._engine.stop_stream(number, 0)
    net.ends[1].send(number, b"answer")
    net.ends[1].finish(number)
    net.settle()
    assert StreamUnread(number) in net.events[0]
    assert net.received(0, number) == b"answer"
    assert StreamEnded(number, reset=False) in net.events[0]
    net.client.send(number, b"more")
    net.client.finish(number)
    net.settle()
    assert net.failed == ["", ""] and net.client.streams == 0


def test_streams_that_agree_on_nothing_are_few_and_end() -> None:
    """Beyond so many the next is reset, and all are when their time is over."""
    net = opened()
    numbers = []
    for _ in range(MAX_NEGOTIATIONS + 1):
        numbers.append(net.client._open_muxer().open())
        net.client._open_muxer().send(numbers[-1], b"\x13")
    net.settle()
    assert net.ends[1].streams == MAX_NEGOTIATIONS
    net.settle(net.now + NEGOTIATION_TIMEOUT + 1)
    assert net.ends[1].streams == 0 and net.failed == ["", ""]


def test_streams_are_capped() -> None:
    """We open so many; a peer that opens more, as aioquic itself would not, loses the connection."""
    net = opened()
    for _ in range(MAX_STREAMS):
        net.client.open_stream("/a")
    with pytest.raises(LocalProtocolError, match="256 streams"):
        net.client.open_stream("/a")
    net.settle()
    assert net.failed == ["", ""]
    net.client._engine._remote_max_streams_bidi = 1000
    net.client._engine.send_stream_data(4 * MAX_STREAMS, b"x")
    net.settle()
    assert "Too many streams open" in net.failed[0]


def with_few_streams(connection: QuicConnection) -> None:
    limit = connection._engine._local_max_streams_bidi
    limit.value = limit.sent = 2


def test_a_peer_that_takes_few_streams() -> None:
    """What it does not take is not opened, and the connection stays."""
    net = opened(change_server=with_few_streams)
    numbers = [net.client.open_stream("/a") for _ in range(2)]
    with pytest.raises(LocalProtocolError, match="2 streams"):
        net.client.open_stream("/a")
    net.client.reset(numbers[0])
    net.settle()
    net.client.send(net.client.open_stream("/a"), b"x")
    net.settle()
    assert net.failed == ["", ""]


def test_streams_come_back() -> None:
    """More than the cap one after the other are no matter."""
    net = opened()
    for _ in range(MAX_STREAMS + 50):
        number = net.client.open_stream("/a")
        net.client.finish(number)
        net.exchange()
        net.ends[1].finish(number)
        net.settle(net.now + 0.1)
    assert net.failed == ["", ""]
    assert sum(isinstance(event, StreamAccepted) for event in net.events[1]) == MAX_STREAMS + 50
    assert len(net.ends[1]._engine.used) < 100


# -- windows -----------------------------------------------------------------------------------


def test_what_is_not_used_is_not_sent() -> None:
    """A stream brings its window and no more, until bytes are used; then the rest, in order."""
    net = opened(use=False)
    number = net.client.open_stream("/a")
    data = random.Random(1).randbytes(4 * STREAM_WINDOW)
    net.client.send(number, data)
    net.client.finish(number)
    net.settle()
    first = net.received(1, number)
    assert STREAM_WINDOW - 100 <= len(first) <= STREAM_WINDOW
    assert net.client.backlog(number) >= 3 * STREAM_WINDOW
    other = net.client.open_stream("/b")
    net.client.send(other, b"others go on")
    net.settle()
    assert net.received(1, other) == b"others go on"
    net.use = True
    net.ends[1].consumed(number, len(first))
    net.settle()
    assert net.received(1, number) == data
    assert net.client.backlog(number) == 0
    assert net.events[1][-1] == StreamEnded(number, reset=False)


def test_all_streams_together_have_a_window() -> None:
    """However many streams a peer fills, so much may wait; once one is used or reset there is room again."""
    net = opened(use=False)
    numbers = [net.client.open_stream("/a") for _ in range(CONNECTION_WINDOW // STREAM_WINDOW + 4)]
    for number in numbers:
        net.client.send(number, bytes(STREAM_WINDOW))
    net.settle(net.now + 5)
    came = {number: len(net.received(1, number)) for number in numbers}
    assert CONNECTION_WINDOW - 5000 <= sum(came.values()) <= CONNECTION_WINDOW
    full = [number for number in numbers if came[number] > STREAM_WINDOW // 2]
    net.ends[1].reset(full[0])
    for number in full[1:20]:
        net.ends[1].consumed(number, came[number])
    net.settle(net.now + 5)
    later = sum(len(net.received(1, number)) for number in numbers)
    assert later > sum(came.values()) and net.failed == ["", ""]
    assert net.ends[1]._engine._unused() <= CONNECTION_WINDOW


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 30))
def test_losses_are_made_good(seed: int, percent: int) -> None:
    """Whatever is lost on the way, all bytes arrive in order, and windows that are lost are told again."""
    chosen = random.Random(seed)
    net = Net(keep=lambda _: chosen.random() * 100 >= percent)
    net.settle(9)
    if net.failed != ["", ""] or net.accepted is None or not net.accepted.is_open:
        return  # a handshake that nothing came of
    data = chosen.randbytes(3 * STREAM_WINDOW // 2)
    number = net.client.open_stream("/a")
    net.client.send(number, data)
    net.client.finish(number)
    net.keep = lambda _: chosen.random() * 100 >= percent / 3
    net.settle(net.now + 9)
    net.keep = lambda _: True
    net.settle(net.now + 30)
    assert net.failed == ["", ""]
    assert net.received(1, number) == data


# -- strangers ---------------------------------------------------------------------------------


def test_a_stranger_that_changes_its_address_is_found_again() -> None:
    """A phone behind a router that gives it another port is still the same connection."""
    net = opened()
    net.client_address = ("127.0.0.1", 3000)
    number = net.client.open_stream("/a")
    net.client.send(number, b"from elsewhere")
    net.settle()
    assert net.received(1, number) == b"from elsewhere"
    assert net.ends[1].address == ("127.0.0.1", 3000)


def test_a_connection_goes_by_many_ids() -> None:
    """Whichever of them the peer uses, its datagrams are found to be its own, and old ones are forgotten."""
    net = opened()
    for number in range(20):
        net.client._engine.change_connection_id()
        stream = net.client.open_stream("/a")
        net.client.send(stream, b"%d" % number)
        net.settle()
        assert net.received(1, stream) == b"%d" % number
    assert len(net.server._by_id) < 20
    net.server.forget(net.ends[1])
    assert not net.server._by_id


def test_what_is_sent_to_a_stranger_is_no_more_than_three_times_what_it_sent() -> None:
    """Whoever writes another's address into a datagram gets that other no flood."""
    net = Net()
    first = [data for data, _ in net.client.take(0.0)]
    for data in first:
        net.to_server(data, CLIENT)
    assert net.accepted is not None
    total = 0
    for _ in range(100):
        total += sum(len(data) for data, _ in net.accepted.take(net.now))
        due = net.accepted.timeout()
        assert due is not None
        net.now = max(due, net.now + 0.001)
        if net.now >= HANDSHAKE_TIMEOUT:
            break
        net.accepted.wake(net.now)
    assert 0 < total <= 3 * sum(map(len, first))


def initial(server: QuicServer, number: int) -> QuicConnection | None:
    """The first datagram of another stranger."""
    client = party(ONE).dial(SERVER, None, 0.0, UNIX)
    (data, _), *_ = client.take(0.0)
    found = server.receive(data, ("127.0.0.1", number), 0.0, UNIX)
    if found is not None:
        found.receive(data, ("127.0.0.1", number), 0.0)
    return found


def test_many_handshakes_ask_for_a_proof_of_the_address() -> None:
    """From so many on a stranger has to come back with a token, which one that is there does."""
    net = Net()
    for number in range(RETRY_FROM):
        assert initial(net.server, number) is not None
    assert net.server.take() == []
    assert initial(net.server, 99) is None
    ((answer, address),) = net.server.take()
    assert address == ("127.0.0.1", 99) and len(answer) < 200
    net.settle()
    assert net.events[1] == [Connected(PeerId.of(ONE.public))]
    assert net.accepted is not None and net.accepted._engine._retry_source_connection_id is not None


def test_handshakes_are_capped() -> None:
    """Beyond a number nobody new is let in, token or not, and room comes back when they end."""
    server = QuicServer(party(TWO))
    made = []
    for number in range(MAX_HANDSHAKES):
        quick = initial(server, number) if number < RETRY_FROM else initial_with_token(server, number)
        assert quick is not None
        made.append(quick)
    assert initial_with_token(server, 5000) is None
    server.forget(made[0])
    assert initial_with_token(server, 5001) is not None


def initial_with_token(server: QuicServer, number: int) -> QuicConnection | None:
    client = party(ONE).dial(SERVER, None, 0.0, UNIX)
    (data, _), *_ = client.take(0.0)
    address = ("127.0.0.1", number)
    assert server.receive(data, address, 0.0, UNIX) is None
    for answer, _ in server.take():
        client.receive(answer, SERVER, 0.0)
    again = [data for data, _ in client.take(0.0)]
    return server.receive(again[0], address, 0.0, UNIX) if again else None


def test_no_room() -> None:
    """A host that has all its links begins no more connections."""
    server = QuicServer(party(TWO))
    (data, _), *_ = party(ONE).dial(SERVER, None, 0.0, UNIX).take(0.0)
    assert server.receive(data, CLIENT, 0.0, UNIX, room=False) is None
    assert server.take() == []


def test_other_versions_are_told_ours_and_small_datagrams_nothing() -> None:
    """An answer is never larger than what asked for it, and none answers an answer."""
    server = QuicServer(party(TWO))
    unknown = b"\xc0\x0a\x0a\x0a\x0a\x08" + bytes(8) + b"\x08" + bytes(8)
    assert server.receive(unknown + bytes(1200), CLIENT, 0.0, UNIX) is None
    ((answer, _),) = server.take()
    assert answer[1:5] == bytes(4) and answer.endswith(bytes.fromhex("00000001"))
    version_one = b"\0\0\0\1\x08" + bytes(8) + b"\x08" + bytes(1300)
    early, handshake = b"\xd0" + version_one, b"\xe0" + version_one
    for silent in (unknown, unknown + bytes(1000), early, handshake, answer + bytes(1200), b"\x40" + bytes(1300), b""):
        assert server.receive(silent, CLIENT, 0.0, UNIX) is None
    assert server.take() == []


LONG_HEADER = st.builds(
    lambda first, version, one, two, rest: (
        bytes([first]) + version + bytes([len(one)]) + one + bytes([len(two)]) + two + rest
    ),
    st.integers(0xC0, 0xFF),
    st.one_of(st.just(bytes.fromhex("00000001")), st.binary(min_size=4, max_size=4)),
    st.binary(max_size=255),
    st.binary(max_size=255),
    st.binary(max_size=100),
)


@given(st.one_of(st.binary(max_size=1500), LONG_HEADER), st.booleans())
def test_any_datagram_of_a_stranger_is_dropped_or_answered_briefly(data: bytes, long: bool) -> None:
    """Nothing else, and no answer is longer than the question."""
    server = QuicServer(party(TWO)) if not SHARED else SHARED[0]
    SHARED[:] = [server]
    datagram = data + bytes(1200) if long else data
    found = server.receive(datagram, CLIENT, 0.0, UNIX)
    if found is not None:
        try:
            assert found.receive(datagram, CLIENT, 0.0) == []
        except RemoteProtocolError:
            pass
        assert sum(len(sent) for sent, _ in found.take(0.0)) <= 3 * len(datagram)
        server.forget(found)
    assert sum(len(answer) for answer, _ in server.take()) <= len(datagram)


SHARED: list[QuicServer] = []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_a_handshake_with_changed_bytes_ends_or_goes_on(seed: int) -> None:
    """Bytes that are changed on the way cost a datagram or the connection; nobody is taken for another."""
    chosen = random.Random(seed)

    def damage(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
        return bytes(changed)

    net = Net()
    real = net.client.take
    net.client.take = lambda now: [(damage(d) if chosen.random() < 0.5 else d, a) for d, a in real(now)]  # type: ignore[method-assign]
    net.settle(5)
    for side, key in ((0, TWO), (1, ONE)):
        assert net.events[side] in ([], [Connected(PeerId.of(key.public))])


def frames(connection: QuicConnection, payload: bytes) -> bytes:
    """A datagram with these bytes as its frames, from someone who has the connection's keys."""
    engine = connection._engine
    builder = QuicPacketBuilder(
        host_cid=engine.host_cid,
        is_client=True,
        max_datagram_size=1200,
        packet_number=engine._packet_number,
        peer_cid=engine._peer_cid.cid,
        version=1,
    )
    builder.start_packet(QuicPacketType.ONE_RTT, engine._cryptos[tls.Epoch.ONE_RTT])
    buffer = builder.start_frame(payload[0] & 0x3F, capacity=len(payload))
    buffer.push_bytes(payload[1:])
    (datagram,), _ = builder.flush()
    engine._packet_number = builder.packet_number
    return datagram


FRAME = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.tuples(st.integers(0, 0x1F), st.binary(max_size=60)).map(lambda parts: bytes([parts[0]]) + parts[1]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(FRAME, min_size=1, max_size=5))
def test_any_frames_of_a_peer_cost_it_its_connection_at_most(payloads: list[bytes]) -> None:
    """Whatever a peer that has proved itself sends: events or RemoteProtocolError, and bounded memory."""
    net = opened(use=False)
    for payload in payloads:
        net.to_server(frames(net.client, payload), CLIENT)
    for _ in range(3):
        if not net.failed[1]:
            net.ends[1].take(net.now)
            net.take(1, lambda: net.ends[1].wake(net.now))
    assert net.ends[1]._engine._unused() <= CONNECTION_WINDOW
    assert len(net.ends[1]._engine._streams) <= MAX_STREAMS


@pytest.mark.parametrize("fails", ["receive_datagram", "datagrams_to_send", "handle_timer"])
def test_a_fault_of_the_library_costs_the_connection(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    """Should bytes bring aioquic to an error that it does not know, that connection ends and nothing else."""
    net = opened()
    net.settle(KEEPALIVE - 1)
    monkeypatch.setattr(net.ends[1]._engine, fails, lambda *_: [].pop())
    net.client.send(net.client.open_stream("/a"), b"x")
    net.settle(net.now + IDLE_TIMEOUT)
    assert "IndexError" in net.failed[1] or "error 0x1" in net.failed[1]


def test_the_dialler_says_nothing_of_itself_in_clear() -> None:
    """The first datagram, which whoever watches can read, has no name, and nothing that stays from one to the next."""
    seen = []
    for _ in range(2):
        client = party(ONE).dial(SERVER, None, 0.0, UNIX)
        assert client._engine.tls._server_name is None
        hello = bytes(client._engine._crypto_streams[tls.Epoch.INITIAL].sender._buffer)
        assert ONE.public not in hello and b"libp2p" in hello
        (data, _), *_ = client.take(0.0)
        header = pull_quic_header(quic_engine.Buffer(data=data), host_cid_length=8)
        seen.append({header.source_cid, header.destination_cid})
    assert not seen[0] & seen[1]
