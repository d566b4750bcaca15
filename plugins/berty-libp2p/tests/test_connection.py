"""Two connections in memory: the same agreement however bytes are cut, and bounds on what a peer leaves unfinished."""

from __future__ import annotations

import itertools
import random

import pytest
from berty_libp2p.connection import (
    HANDSHAKE_TIMEOUT,
    MAX_NEGOTIATIONS,
    NEGOTIATION_TIMEOUT,
    Connected,
    Connection,
    Event,
    State,
    StreamAccepted,
    StreamAgreed,
    StreamData,
    StreamEnded,
)
from berty_libp2p.multistream import HEADER, encode_token
from berty_libp2p.peers import PeerId
from berty_libp2p.upgrade import NoiseUpgrade
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.crypto.keys import PrivateKey, Secret
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.protocol.yamux import YamuxLimits

KEYS = (PrivateKey(bytes(32)), PrivateKey(bytes([1]) * 32))
NUMBERS = itertools.count()


def speaks(protocol: str) -> bool:
    return protocol in ("/a", "/b")


def end(initiator: bool, *, early: bool = True, limits: YamuxLimits | None = None) -> Connection:
    seeds = [Secret(next(NUMBERS).to_bytes(32, "big")) for _ in range(2)]
    key = KEYS[0 if initiator else 1]
    return Connection(initiator, key, speaks, *seeds, 0.0, early_muxer=early, limits=limits)


class Pair:
    """Two ends and the wire between them."""

    def __init__(
        self, *, cut: int = 1 << 30, early: tuple[bool, bool] = (True, True), limits: YamuxLimits | None = None
    ) -> None:
        self.ends = (end(True, early=early[0], limits=limits), end(False, early=early[1], limits=limits))
        self.events: tuple[list[Event], list[Event]] = ([], [])
        self.cut = cut
        self.use = True  # give window back at once
        self.now = 0.0

    def pump(self) -> None:
        """Let everything arrive."""
        moved = True
        while moved:
            moved = False
            for side in (0, 1):
                data = self.ends[side].take()
                moved = moved or bool(data)
                for begin in range(0, len(data), self.cut):
                    self.deliver(1 - side, data[begin : begin + self.cut])

    def deliver(self, side: int, data: bytes) -> None:
        events = self.ends[side].receive(data, self.now)
        self.events[side].extend(events)
        for event in events:
            if self.use and isinstance(event, StreamData):
                self.ends[side].consumed(event.stream, len(event.data))

    def received(self, side: int, stream: int) -> bytes:
        return b"".join(e.data for e in self.events[side] if isinstance(e, StreamData) and e.stream == stream)


@pytest.mark.parametrize("cut", [1, 5, 1 << 30])
@pytest.mark.parametrize("early", list(itertools.product([True, False], repeat=2)))
def test_two_ends_meet_and_talk(cut: int, early: tuple[bool, bool]) -> None:
    """With and without early muxer on either side, each proves who it is, and a stream carries both ways."""
    pair = Pair(cut=cut, early=early)
    pair.pump()
    assert pair.events[0] == [Connected(PeerId.of(KEYS[1].public))]
    assert pair.events[1] == [Connected(PeerId.of(KEYS[0].public))]
    number = pair.ends[0].open_stream("/a")
    pair.ends[0].send(number, b"question")
    pair.ends[0].finish(number)
    pair.pump()
    assert StreamAccepted(number, "/a") in pair.events[1]
    assert StreamAgreed(number, "/a") in pair.events[0]
    assert pair.received(1, number) == b"question"
    assert pair.events[1][-1] == StreamEnded(number, reset=False)
    pair.ends[1].send(number, b"answer")
    pair.ends[1].finish(number)
    pair.pump()
    assert pair.received(0, number) == b"answer"
    assert [side.streams for side in pair.ends] == [0, 0]


def test_the_first_bytes_ride_along() -> None:
    """Header, protocol and payload of a stream go out at once, before the peer has answered."""
    pair = Pair()
    pair.pump()
    number = pair.ends[0].open_stream("/a")
    pair.ends[0].send(number, b"payload")
    pair.deliver(1, pair.ends[0].take())
    assert pair.received(1, number) == b"payload"


def test_a_protocol_that_is_not_spoken() -> None:
    """Only that stream ends, with the reason in words, and the next one works."""
    pair = Pair()
    pair.pump()
    refused = pair.ends[0].open_stream("/c")
    pair.pump()
    ended = pair.events[0][-1]
    assert isinstance(ended, StreamEnded) and ended.stream == refused and "does not speak /c" in ended.reason
    number = pair.ends[1].open_stream("/b")
    pair.ends[1].send(number, b"on")
    pair.pump()
    assert pair.received(0, number) == b"on"
    assert pair.ends[0].streams == 1


def test_windows_of_one_byte() -> None:
    """Every byte waits for its window, and all arrive in order; the end comes behind them."""
    pair = Pair(cut=3, limits=YamuxLimits(window=1, max_window=1, unsent=2))
    pair.pump()
    number = pair.ends[0].open_stream("/a")
    data = bytes(range(100))
    pair.ends[0].send(number, data)
    pair.ends[0].finish(number)
    for _ in range(300):
        pair.pump()
        pair.now += 0.01
        for side in (0, 1):
            pair.events[side].extend(pair.ends[side].wake(pair.now))
    assert pair.received(1, number) == data
    assert pair.events[1][-1] == StreamEnded(number, reset=False)
    assert pair.ends[0].backlog(number) == 0


def test_what_the_peer_does_not_take_waits_and_is_counted() -> None:
    """Bytes beyond window and yamux's own queue wait in the connection, and go when there is room."""
    pair = Pair()
    pair.pump()
    pair.use = False
    number = pair.ends[0].open_stream("/a")
    data = random.Random(1).randbytes(3 << 20)
    pair.ends[0].send(number, data)
    pair.ends[0].finish(number)
    pair.pump()
    waiting = pair.ends[0].backlog(number)
    assert len(data) - (1 << 20) < waiting + len(pair.received(1, number)) <= len(data)
    given = 0
    while (got := len(pair.received(1, number))) < len(data):
        pair.ends[1].consumed(number, got - given)
        given = got
        pair.pump()
        assert len(pair.received(1, number)) > got
    assert pair.received(1, number) == data
    assert pair.events[1][-1] == StreamEnded(number, reset=False)


def test_a_handshake_that_is_not_finished_times_out() -> None:
    """Ten seconds after the link came up it must be open, else it is closed with the state in words."""
    for connection in (end(True), end(False)):
        assert connection.timeout() == HANDSHAKE_TIMEOUT
        assert connection.wake(HANDSHAKE_TIMEOUT - 0.1) == []
        with pytest.raises(RemoteProtocolError, match="still agreeing on Noise"):
            connection.wake(HANDSHAKE_TIMEOUT)
        assert connection.state is State.CLOSED


def test_a_stream_that_never_says_what_it_speaks_is_reset() -> None:
    """Ours end with a reason, the peer's quietly; the connection stays."""
    pair = Pair()
    pair.pump()
    silent = pair.ends[0]._open_yamux().open()
    pair.ends[0]._open_yamux().send(silent, encode_token(HEADER))
    pair.pump()
    assert pair.ends[1].streams == 1
    assert pair.ends[1].wake(NEGOTIATION_TIMEOUT) == []
    assert pair.ends[1].streams == 0
    number = pair.ends[0].open_stream("/a")
    pair.ends[0].take()  # lost
    due = pair.ends[0].timeout()
    assert due is not None and due <= NEGOTIATION_TIMEOUT
    ended = pair.ends[0].wake(NEGOTIATION_TIMEOUT)
    assert [(e.stream, e.reset) for e in ended if isinstance(e, StreamEnded)] == [(number, True)]


def test_streams_without_a_protocol_are_capped() -> None:
    """A peer that opens streams and says nothing gets so many and no more."""
    pair = Pair()
    pair.pump()
    yamux = pair.ends[0]._open_yamux()
    for _ in range(4 * MAX_NEGOTIATIONS // 2):
        yamux.send(yamux.open(), encode_token(HEADER))
        pair.pump()
    assert 0 < pair.ends[1].streams <= MAX_NEGOTIATIONS


def test_oneself_is_not_connected_to() -> None:
    """A link that leads back to ourselves is refused."""
    one = Connection(True, KEYS[0], speaks, Secret(bytes(32)), Secret(b"1" * 32), 0.0)
    two = Connection(False, KEYS[0], speaks, Secret(b"2" * 32), Secret(b"3" * 32), 0.0)
    with pytest.raises(RemoteProtocolError, match="ourselves"):
        for _ in range(5):
            two.receive(one.take(), 0.0)
            one.receive(two.take(), 0.0)


def test_a_signature_of_another_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who shows a peer id without holding its key is not that peer."""
    honest = NoiseUpgrade(True, KEYS[0], Secret(bytes(32)), Secret(b"1" * 32))
    liar = NoiseUpgrade(False, KEYS[1], Secret(b"2" * 32), Secret(b"3" * 32))
    monkeypatch.setattr(liar, "_static_public", bytes(32))  # it signs another Noise key than the one it uses
    liar.receive(honest.take())
    with pytest.raises(RemoteProtocolError, match="does not hold the key"):
        honest.receive(liar.take())


def test_misuse_is_our_fault() -> None:
    """Streams before the connection is open are LocalProtocolErrors; what is said on gone ones is nothing."""
    with pytest.raises(LocalProtocolError, match="not open"):
        end(True).open_stream("/a")
    pair = Pair()
    pair.pump()
    number = pair.ends[0].open_stream("/a")
    pair.ends[0].reset(number)
    pair.ends[0].send(number, b"x")
    pair.ends[0].finish(number)
    pair.ends[0].reset(number)
    assert pair.ends[0].backlog(number) == 0


@settings(max_examples=100, deadline=None)
@given(st.booleans(), st.lists(st.binary(max_size=50) | st.sampled_from([
    encode_token(HEADER), encode_token("/noise"), b"\x00\x20" + bytes(range(32)), b"\x00\x00",
]), max_size=10))  # fmt: skip
def test_any_first_bytes_give_events_or_a_remote_error(initiator: bool, chunks: list[bytes]) -> None:
    """Whatever a stranger sends first: nothing, or RemoteProtocolError; it is never connected."""
    connection = end(initiator)
    try:
        for chunk in chunks:
            assert connection.receive(chunk, 1.0) == []
            connection.take()
    except RemoteProtocolError:
        assert connection.state is State.CLOSED


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from("oosffrw"), st.integers(0, 5)), max_size=60))
def test_streams_in_any_order(steps: list[tuple[int, str, int]]) -> None:
    """Opened, written, finished and reset at random, each stream brings what was sent, and none is left behind."""
    pair = Pair(cut=37)
    pair.pump()
    opened: list[tuple[int, int]] = []
    sent: dict[tuple[int, int], bytes] = {}
    dead: set[int] = set()
    finished: set[tuple[int, int]] = set()
    for side, step, pick in steps:
        if step == "o":
            opened.append((side, pair.ends[side].open_stream("/a")))
        elif step == "w":
            pair.pump()
        elif opened:
            number = opened[pick % len(opened)][1]
            if opened[pick % len(opened)][0] != side:
                pair.pump()
            if step == "s" and (side, number) not in finished and number not in dead:
                pair.ends[side].send(number, b"%d;" % pick * 100)
                sent[side, number] = sent.get((side, number), b"") + b"%d;" % pick * 100
            elif step == "f":
                pair.ends[side].finish(number)
                finished.add((side, number))
            elif step == "r":
                pair.ends[side].reset(number)
                dead.add(number)
    pair.pump()
    for (side, number), data in sent.items():
        got = pair.received(1 - side, number)
        assert got == data if number not in dead else data.startswith(got)
    for _, number in opened:
        for either in (0, 1):
            pair.ends[either].finish(number)
    pair.pump()
    assert [one.streams for one in pair.ends] == [0, 0]
