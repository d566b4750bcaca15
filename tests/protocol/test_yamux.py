"""Yamux: recorded sessions with go-libp2p, two machines joined under random use, and a peer without manners."""

from __future__ import annotations

import gzip
import json
import re
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.protocol.yamux import (
    INITIAL_WINDOW,
    DataReceived,
    GoAwayReceived,
    PongReceived,
    StreamFinished,
    StreamOpened,
    StreamReset,
    WindowOpened,
    Yamux,
    YamuxEvent,
    YamuxLimits,
)
from berty_core.protocol.yamux_stream import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_LENGTH,
    MAX_FRAME,
    PING,
    RST,
    SYN,
    TRANSITIONS,
    WINDOW_UPDATE,
    State,
    Step,
    Stream,
)

RECORDED = json.loads(
    gzip.decompress((Path(__file__).parent.parent / "vectors" / "libp2p" / "yamux.json.gz").read_bytes())
)["connections"]
TYPES = {"data": DATA, "window": WINDOW_UPDATE, "ping": PING, "goaway": GO_AWAY}
FLAGS = {"": 0, "SYN": SYN, "ACK": ACK, "FIN": FIN, "RST": RST}
QUIET = YamuxLimits(keepalive=None, max_window=INITIAL_WINDOW)


def frame(kind: int, flags: int, number: int, length: int, payload: bytes = b"") -> bytes:
    """One frame as a peer would write it."""
    return struct.pack(">BBHII", 0, kind, flags, number, length) + payload


def data_frame(number: int, payload: bytes, flags: int = 0) -> bytes:
    """A data frame whose length is true."""
    return frame(DATA, flags, number, len(payload), payload)


def frames(wire: bytes) -> list[tuple[int, int, int, int, bytes]]:
    """Whole frames: type, flags, stream, length, payload."""
    found, position = [], 0
    while position < len(wire):
        version, kind, flags, number, length = HEADER.unpack_from(wire, position)
        assert version == 0
        position += HEADER_LENGTH
        size = length if kind == DATA else 0
        assert position + size <= len(wire)
        found.append((kind, flags, number, length, wire[position : position + size]))
        position += size
    return found


def of(events: list[YamuxEvent], kind: type) -> list[Any]:
    """The events of one class."""
    return [event for event in events if isinstance(event, kind)]


def received(events: list[YamuxEvent], number: int) -> bytes:
    """The bytes of one stream."""
    return b"".join(event.data for event in of(events, DataReceived) if event.stream_id == number)


def joined(limits: YamuxLimits = QUIET) -> tuple[Yamux, Yamux]:
    """Two machines that can talk to each other."""
    return Yamux(True, 0.0, limits), Yamux(False, 0.0, limits)


def pump(left: Yamux, right: Yamux, now: float = 0.0) -> tuple[list[YamuxEvent], list[YamuxEvent]]:
    """Carry everything to and fro until both are silent; return the events of each."""
    seen: tuple[list[YamuxEvent], list[YamuxEvent]] = ([], [])
    while True:
        there, back = left.take(), right.take()
        seen[1].extend(right.receive(there, now) if there else right.wake(now))
        seen[0].extend(left.receive(back, now) if back else left.wake(now))
        if not there and not back:
            return seen


def opened(limits: YamuxLimits = QUIET) -> tuple[Yamux, Yamux, int]:
    """Two machines with one stream that both know."""
    left, right = joined(limits)
    number = left.open()
    left.send(number, b"hello")
    pump(left, right)
    right.consumed(number, 5)
    pump(left, right)
    return left, right, number


@pytest.mark.parametrize("connection", RECORDED, ids=lambda connection: str(connection["source"]))
def test_recorded_frames_decode_and_encode_to_the_same_bytes(connection: dict[str, Any]) -> None:
    """Each direction's recorded bytes are the listed frames, and the frames written again are those bytes."""
    for direction in ("in", "out"):
        wire = b"".join(bytes.fromhex(text) for way, text in connection["plaintexts"] if way == direction)
        listed = [
            (TYPES[kind], FLAGS[flags], number, length)
            for way, kind, flags, number, length in connection["frames"]
            if way == direction
        ]
        found = frames(wire)
        assert [entry[:4] for entry in found] == listed
        assert b"".join(frame(*entry) for entry in found) == wire


def replay(connection: dict[str, Any], cut: int) -> tuple[Yamux, bytes, bytes, list[YamuxEvent]]:
    """Feed the peer's bytes and make the calls behind our recorded frames, in their order."""
    machine = Yamux(connection["initiator"], 0.0, QUIET)
    sent, expected = b"", b""
    events: list[YamuxEvent] = []
    for way, text in connection["plaintexts"]:
        plain = bytes.fromhex(text)
        if way == "in":
            for start in range(0, len(plain), cut):
                events += machine.receive(plain[start : start + cut], 0.0)
            continue
        expected += plain
        for kind, flags, number, _, payload in frames(plain):
            if flags & SYN:
                assert machine.open() == number
            if kind == DATA:
                assert machine.send(number, payload) == len(payload)
            if kind == WINDOW_UPDATE:
                (machine.finish if flags & FIN else machine.reset)(number)
        sent += machine.take()
    return machine, sent, expected, events


@pytest.mark.parametrize("cut", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize("connection", RECORDED, ids=lambda connection: str(connection["source"]))
def test_recorded_sessions_are_replayed(connection: dict[str, Any], cut: int) -> None:
    """The same calls give the recorded bytes, first flags and pongs included, and each stream its recorded content."""
    machine, sent, expected, events = replay(connection, cut)
    assert sent == expected
    for stream in connection["streams"]:
        number = stream["sid"]
        content = received(events, number)
        assert content.endswith(bytes.fromhex(stream["in"])), number
        assert (StreamOpened(number) in events) == (stream["opened_by"] != "us")
        assert (StreamFinished(number) in events) == ("in FIN" in stream["end"])
        assert (StreamReset(number) in events) == ("in RST" in stream["end"] and number_was_open(stream))
        ours = b"".join(entry[4] for entry in frames(sent) if entry[2] == number)
        assert ours.endswith(bytes.fromhex(stream["out"])), number
    over = {stream["sid"] for stream in connection["streams"] if set(stream["end"]) & {"in RST", "out RST"}}
    assert not over & set(machine.streams)


def number_was_open(stream: dict[str, Any]) -> bool:
    """Whether the peer's reset met a stream that was not over by then."""
    return "in FIN" not in stream["end"] or "out FIN" not in stream["end"]


def test_the_table_ends_every_stream() -> None:
    """From each state a reset, or the two finishes, lead to closed, and nothing leads out of it."""
    assert TRANSITIONS[State.CLOSED] == {}
    for state in (State.OPEN, State.LOCAL_FINISHED, State.REMOTE_FINISHED):
        assert TRANSITIONS[state][Step.RESET] is State.CLOSED
    stream = Stream(1, False, 10, 0.0)
    assert stream.move(Step.FINISH)
    assert not stream.move(Step.SEND)
    assert not stream.move(Step.FINISH)
    assert stream.move(Step.REMOTE_FINISH)
    assert stream.state is State.CLOSED
    assert not stream.move(Step.RESET)


def test_first_flags_ride_on_first_frames() -> None:
    """SYN comes with our first data, ACK with the first answer, FIN as a window update, as in the recordings."""
    left, right = joined()
    number = left.open()
    assert left.take() == b""
    assert left.send(number, b"one") == 3
    assert left.send(number, b"two") == 3
    wire = left.take()
    assert frames(wire) == [(DATA, SYN, 1, 3, b"one"), (DATA, 0, 1, 3, b"two")]
    assert right.receive(wire, 0.0) == [StreamOpened(1), DataReceived(1, b"one"), DataReceived(1, b"two")]
    right.send(1, b"answer")
    right.finish(1)
    wire = right.take()
    assert frames(wire) == [(DATA, ACK, 1, 6, b"answer"), (WINDOW_UPDATE, FIN, 1, 0, b"")]
    assert left.receive(wire, 0.0) == [DataReceived(1, b"answer"), StreamFinished(1)]
    left.finish(1)
    assert frames(left.take()) == [(WINDOW_UPDATE, FIN, 1, 0, b"")]
    assert left.streams == ()
    empty = left.open()
    left.finish(empty)
    assert frames(left.take()) == [(WINDOW_UPDATE, SYN | FIN, 3, 0, b"")]


def test_an_acceptance_without_an_answer_is_told_late() -> None:
    """A stream that is accepted and never answered is acknowledged by a frame of its own."""
    left, right = joined()
    left.send(left.open(), b"x")
    right.receive(left.take(), 1.0)
    assert right.timeout() is None
    right.accept(1)
    assert right.take() == b""
    assert right.timeout() == pytest.approx(1.2)
    right.wake(1.2)
    assert frames(right.take()) == [(WINDOW_UPDATE, ACK, 1, 0, b"")]
    assert right.timeout() is None


def test_window_holds_back_what_the_peer_has_no_room_for() -> None:
    """We send one window, queue as much as allowed, refuse the rest, and go on when the peer has consumed."""
    limits = YamuxLimits(keepalive=None, window=1000, max_window=1000, unsent=1500)
    left, right = joined(limits)
    number = left.open()
    assert left.sendable(number) == 2500
    assert left.send(number, bytes(range(250)) * 20) == 2500
    assert left.sendable(number) == 0
    assert left.unsent(number) == 1500
    seen = pump(left, right)
    assert received(seen[1], number) == bytes(range(250)) * 4
    right.consumed(number, 499)
    assert right.take() == b""
    right.consumed(number, 1)
    wire = right.take()
    assert frames(wire) == [(WINDOW_UPDATE, ACK, 1, 500, b"")]
    assert left.receive(wire, 0.0) == [WindowOpened(1, 500)]
    assert left.unsent(number) == 1000
    left.finish(number)
    assert FIN not in {entry[1] for entry in frames(left.take())}
    right.consumed(number, 500)
    pump(left, right)
    assert left.unsent(number) == 500
    with pytest.raises(LocalProtocolError):
        left.send(number, b"more")


def test_a_wide_window_does_not_fill_our_memory() -> None:
    """A peer that grants 2 GiB gets no more of one stream at a time than `unsent` between two takes, twice."""
    left, right, number = opened(YamuxLimits(keepalive=None, unsent=10_000))
    assert right.streams == (number,)
    left.receive(frame(WINDOW_UPDATE, 0, number, 1 << 31), 0.0)
    assert left.send(number, bytes(1 << 20)) == 20_000
    assert left.unsent(number) == 10_000
    assert left.send(number, b"more") == left.sendable(number) == 0
    assert left.timeout() is None
    assert len(left.take()) == 20_000 + 2 * HEADER_LENGTH
    assert left.timeout() is not None
    assert left.wake(0.0) == [WindowOpened(number, 20_000)]
    left.send(number, bytes(1 << 20))
    left.take()
    left.reset(number)
    assert left.wake(0.0) == []


def test_big_sends_are_cut_to_noise_messages() -> None:
    """No data frame is longer than what one Noise message carries."""
    left, _ = joined()
    assert left.send(left.open(), bytes(200_000)) == 200_000
    lengths = [entry[3] for entry in frames(left.take())]
    assert lengths == [MAX_FRAME, MAX_FRAME, MAX_FRAME, 200_000 - 3 * MAX_FRAME]


def test_windows_grow_while_they_are_filled_quickly() -> None:
    """Once a round trip is known, a busy stream's window doubles up to its limit and gives it back at its end."""
    limits = YamuxLimits(keepalive=None, window=1000, max_window=4000, growth=3500)
    left, right = joined(limits)
    number = left.open()
    now = 0.0
    for _ in range(12):
        left.send(number, bytes(left.sendable(number)))
        now += 0.01
        for event in of(right.receive(left.take(), now), DataReceived):
            right.consumed(number, len(event.data))
        now += 0.01
        left.receive(right.take(), now)
    assert right.rtt == pytest.approx(0.02)
    assert right._streams[number].window == 4000
    assert right._grown == 3000
    right.reset(number)
    assert right._grown == 0


def test_half_close_and_reset() -> None:
    """Each side finishes alone; a reset drops the queue and tells the peer once."""
    left, right, number = opened()
    left.finish(number)
    seen = pump(left, right)
    assert seen[1] == [StreamFinished(number)]
    right.send(number, b"still")
    assert received(pump(left, right)[0], number) == b"still"
    right.reset(number)
    assert pump(left, right)[0] == [StreamReset(number)]
    assert left.streams == right.streams == ()
    left.reset(number)
    left.finish(number)
    left.consumed(number, 1)
    assert left.send(number, b"quiet") == 0
    assert left.sendable(number) == left.unsent(number) == 0
    assert left.take() == b""


def test_no_window_is_given_back_behind_a_finish() -> None:
    """Consuming the last bytes of a finished stream sends nothing."""
    _, right = joined()
    right.receive(data_frame(1, bytes(INITIAL_WINDOW), SYN | FIN), 0.0)
    right.consumed(1, INITIAL_WINDOW)
    assert right.take() == b""


def test_a_stream_nobody_heard_of_is_reset_in_silence() -> None:
    """A stream that was opened and reset before its first byte costs no frame; its number is not used again."""
    left, right = joined()
    left.reset(left.open())
    assert left.take() == b""
    left.send(left.open(), b"x")
    assert pump(left, right)[1] == [StreamOpened(3), DataReceived(3, b"x")]


def test_openings_may_overtake_each_other_but_not_repeat() -> None:
    """Go may send SYN 5 before SYN 3; a number that was used, in order or not, is refused for ever."""
    _, right = joined()
    assert right.receive(frame(WINDOW_UPDATE, SYN, 5, 0) + frame(WINDOW_UPDATE, SYN, 3, 0), 0.0) == [
        StreamOpened(5),
        StreamOpened(3),
    ]
    right.reset(3)
    with pytest.raises(RemoteProtocolError, match="a second time"):
        right.receive(frame(WINDOW_UPDATE, SYN, 3, 0), 0.0)


def test_skipped_numbers_are_remembered_within_bounds() -> None:
    """A peer that leaps through the numbers costs no memory and cannot come back to the old ones."""
    _, right = joined()
    for number in (2_000_001, 4_000_000_001):
        right.receive(frame(WINDOW_UPDATE, SYN, number, 0), 0.0)
    assert len(right._skipped) <= 1024
    right.receive(frame(WINDOW_UPDATE, SYN, 3_999_999_999, 0), 0.0)
    with pytest.raises(RemoteProtocolError, match="a second time"):
        right.receive(frame(WINDOW_UPDATE, SYN, 1, 0), 0.0)


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (b"\x01" + bytes(11), "version 1"),
        (frame(4, 0, 1, 0), "type 4"),
        (frame(DATA, 16, 1, 0), "flags 16"),
        (frame(DATA, SYN, 3, 1 << 31), "stream 3: a frame of 2147483648 bytes, the window has 262144"),
        (frame(DATA, 0, 1, INITIAL_WINDOW), "the window has 262139"),
        (frame(DATA, SYN, 2, 0), "our kind of number"),
        (frame(DATA, SYN, 0, 0), "our kind of number"),
        (frame(DATA, SYN, 1, 0), "opened twice"),
        (frame(DATA, 0, 3, 0), "never opened"),
        (frame(WINDOW_UPDATE, 0, 2, 1), "never opened"),
        (frame(DATA, 0, 0, 0), "never opened"),
        (frame(WINDOW_UPDATE, 0, 1, 0xFFFFFFFF), "above 2^32-1"),
        (frame(PING, SYN, 1, 0), "a ping on stream 1"),
        (frame(GO_AWAY, 0, 1, 0), "a go-away on stream 1"),
    ],
)
def test_frames_that_are_refused(wire: bytes, why: str) -> None:
    """A frame that breaks the protocol ends the session by its header alone, with a go-away that says so."""
    right = Yamux(False, 0.0, QUIET)
    right.receive(data_frame(1, b"hello", SYN), 0.0)
    with pytest.raises(RemoteProtocolError, match=re.escape(why)):
        right.receive(wire, 0.0)
    assert frames(right.take())[-1] == (GO_AWAY, 0, 0, 1, b"")
    with pytest.raises(LocalProtocolError):
        right.receive(b"", 0.0)


def test_bytes_in_flight_after_a_reset_are_tolerated_up_to_the_window() -> None:
    """What the peer sent before it saw our reset is dropped quietly; more than its window ends the session."""
    _, right = joined()
    right.receive(data_frame(1, b"x" * 1000, SYN), 0.0)
    right.reset(1)
    rest = INITIAL_WINDOW - 1000
    assert right.receive(data_frame(1, bytes(rest), FIN) + frame(WINDOW_UPDATE, 0, 1, 100), 0.0) == []
    assert frames(right.take()) == [(WINDOW_UPDATE, RST, 1, 0, b"")]
    with pytest.raises(RemoteProtocolError, match="closed stream"):
        right.receive(data_frame(1, b"y"), 0.0)


def test_a_reset_in_the_middle_of_a_frame_keeps_the_count() -> None:
    """When we reset a stream while its frame is half here, the rest is dropped and the next frame is read."""
    _, right = joined()
    wire = data_frame(1, b"a" * 100, SYN | FIN) + data_frame(3, b"next", SYN)
    assert len(received(right.receive(wire[:50], 0.0), 1)) == 38
    right.reset(1)
    assert right.receive(wire[50:], 0.0) == [StreamOpened(3), DataReceived(3, b"next")]


def test_bytes_behind_a_finish_reset_that_stream_only() -> None:
    """Data after its FIN is not delivered: the stream is reset and the session lives."""
    _, right = joined()
    events = right.receive(data_frame(1, b"end", SYN | FIN) + data_frame(1, b"more") + data_frame(3, b"x", SYN), 0.0)
    assert events[1:] == [
        DataReceived(1, b"end"),
        StreamFinished(1),
        StreamReset(1),
        StreamOpened(3),
        DataReceived(3, b"x"),
    ]
    assert frames(right.take()) == [(WINDOW_UPDATE, RST, 1, 0, b"")]


def test_streams_above_the_caps_are_reset_and_cost_nothing() -> None:
    """The backlog and the total each bound what the peer can open; its first bytes are dropped."""
    right = Yamux(False, 0.0, YamuxLimits(keepalive=None, backlog=2, incoming=3))
    for number in (1, 3, 5, 7):
        right.receive(data_frame(number, b"hi", SYN), 0.0)
    assert right.streams == (1, 3)
    right.accept(1)
    right.accept(3)
    assert of(right.receive(data_frame(9, b"hi", SYN) + data_frame(11, b"hi", SYN), 0.0), StreamOpened) == [
        StreamOpened(9)
    ]
    assert {entry[2] for entry in frames(right.take()) if entry[1] == RST} == {5, 7, 11}
    right.reset(1)
    assert of(right.receive(data_frame(13, b"hi", SYN), 0.0), StreamOpened)
    right.reset(3)
    for number in range(15, 35, 2):  # opened and given up at once, they leave room behind
        opening = frame(WINDOW_UPDATE, SYN, number, 0) + frame(WINDOW_UPDATE, RST, number, 0)
        right.reset(13)
        assert right.receive(opening, 0.0) == [StreamOpened(number), StreamReset(number)]


def test_our_own_openings_are_capped() -> None:
    """More streams than the limit, or after a go-away of either side, are our fault."""
    left = Yamux(True, 0.0, YamuxLimits(outgoing=2))
    assert [left.open(), left.open()] == [1, 3]
    with pytest.raises(LocalProtocolError, match="limit is 2"):
        left.open()
    left.reset(1)
    assert left.open() == 5
    left.reset(3)
    assert left.receive(frame(GO_AWAY, 0, 0, 2), 0.0) == [GoAwayReceived(2)]
    with pytest.raises(LocalProtocolError, match="go away"):
        left.open()


def test_go_away_refuses_new_streams_and_keeps_the_old() -> None:
    """After our go-away the peer's new streams are reset; open ones carry on."""
    left, right, number = opened()
    right.go_away()
    right.go_away()
    assert pump(left, right)[0] == [GoAwayReceived(0)]
    assert right.receive(frame(DATA, SYN, 3, 0), 0.0) == []
    assert frames(right.take()) == [(WINDOW_UPDATE, RST, 3, 0, b"")]
    left.send(number, b"on")
    assert received(pump(left, right)[1], number) == b"on"
    with pytest.raises(LocalProtocolError):
        right.open()


def test_pings_are_answered_and_measured() -> None:
    """A ping comes back with its number; ours gives the round trip; a stray answer is nothing."""
    left, right = joined()
    right.receive(frame(PING, SYN, 0, 0xDEADBEEF), 0.0)
    assert right.take() == frame(PING, ACK, 0, 0xDEADBEEF)
    left.receive(b"", 5.0)
    left.ping()
    left.ping()
    wire = left.take()
    assert wire == frame(PING, SYN, 0, 0)
    right.receive(wire, 5.0)
    assert left.receive(frame(PING, ACK, 0, 77), 5.1) == []
    assert left.receive(right.take(), 5.25) == [PongReceived(0.25)]
    assert left.rtt == 0.25


def test_keepalive_pings_a_silent_peer_and_gives_it_up() -> None:
    """After silence we ping; any byte counts as life; an unanswered ping ends the session."""
    left = Yamux(True, 100.0, YamuxLimits(keepalive=30.0, ping_timeout=20.0))
    assert left.timeout() == 130.0
    assert left.wake(129.0) == []
    assert left.take() == b""
    left.receive(frame(WINDOW_UPDATE, SYN, 2, 0), 110.0)
    assert left.timeout() == 140.0
    left.wake(140.0)
    assert left.take() == frame(PING, SYN, 0, 0)
    assert left.timeout() == 160.0
    left.receive(data_frame(2, b"busy"), 155.0)
    assert left.timeout() == 175.0
    assert left.wake(160.0) == []
    with pytest.raises(RemoteProtocolError, match="silent for 20 s"):
        left.wake(175.0)


def test_floods_are_bounded() -> None:
    """Pings beyond a few get no answer; refused openings beyond the cap end the session."""
    right = Yamux(False, 0.0, YamuxLimits(keepalive=None, backlog=0, control=100))
    right.receive(frame(PING, SYN, 0, 1) * 10_000, 0.0)
    assert len(right.take()) == 32 * HEADER_LENGTH
    flood = b"".join(frame(WINDOW_UPDATE, SYN, number, 0) for number in range(1, 2001, 2))
    with pytest.raises(RemoteProtocolError, match="faster than it reads"):
        right.receive(flood, 0.0)


def test_an_announced_payload_costs_no_memory() -> None:
    """A frame that fills its window byte by byte is handed on byte by byte, and nothing is kept."""
    right = Yamux(False, 0.0, QUIET)
    right.receive(frame(DATA, SYN, 1, INITIAL_WINDOW), 0.0)
    tracemalloc.start()
    for _ in range(200):
        assert len(right.receive(bytes(1000), 0.0)) == 1
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 20_000


def test_misuse_is_our_fault() -> None:
    """Streams that never were, consuming what never came, and sending after finish are LocalProtocolErrors."""
    left, _, number = opened()
    left.finish(number)
    calls: list[Any] = [
        lambda: left.send(2, b""),
        lambda: left.finish(99),
        lambda: left.consumed(number, 1),
        lambda: left.consumed(number, -1),
        lambda: left.send(number, b"late"),
    ]
    for call in calls:
        with pytest.raises(LocalProtocolError):
            call()


def header_bytes() -> st.SearchStrategy[bytes]:
    """Frames that are nearly right: small numbers, true and false lengths."""
    return st.builds(
        lambda kind, flags, number, length, payload: frame(kind, flags, number, length) + payload,
        st.integers(0, 4),
        st.integers(0, 17),
        st.integers(0, 9),
        st.sampled_from([0, 1, 5, 5, 5, 300, INITIAL_WINDOW, 1 << 31, 0xFFFFFFFF]),
        st.sampled_from([b"", b"01234", b"01234", bytes(300)]),
    )


@settings(max_examples=300, deadline=None)
@given(
    st.booleans(),
    st.lists(st.binary(max_size=40) | header_bytes(), max_size=20),
    st.lists(st.sampled_from(["open", "send", "finish", "reset", "consumed", "accept"]), max_size=20),
)
def test_any_bytes_give_events_or_a_remote_error(initiator: bool, chunks: list[bytes], calls: list[str]) -> None:
    """Whatever the peer sends and we do meanwhile, the machine answers with events or RemoteProtocolError."""
    machine = Yamux(initiator, 0.0, YamuxLimits(backlog=3, incoming=4, outgoing=4))
    for turn, chunk in enumerate(chunks):
        try:
            events = machine.receive(chunk, float(turn))
        except RemoteProtocolError:
            assert isinstance(machine.take(), bytes)
            return
        assert len(machine.streams) <= 8
        assert len(machine._partial) < HEADER_LENGTH
        for call in calls[turn : turn + 2]:
            use(machine, call, events)
        frames(machine.take())
        assert machine.timeout() is not None


def use(machine: Yamux, call: str, events: list[YamuxEvent]) -> None:
    """Make one call that an application might make now."""
    number = next(iter(machine.streams), None)
    if call == "open" and machine._outgoing < 4 and not machine._left_by_peer:
        machine.send(machine.open(), b"hi")
    elif call == "consumed":
        for event in of(events, DataReceived):
            machine.consumed(event.stream_id, len(event.data))
    elif number is not None and call == "send":
        if not machine._streams[number].finishing:
            machine.send(number, b"payload")
    elif number is not None and call != "open":
        getattr(machine, call)(number)


class Conversation(RuleBasedStateMachine):
    """Two machines with tiny windows, joined by a wire that cuts where it likes, used at random."""

    window = 7
    unsent = 20

    def __init__(self) -> None:
        super().__init__()
        limits = YamuxLimits(
            window=self.window, max_window=4 * self.window, growth=40, unsent=self.unsent, incoming=4, outgoing=4,
            backlog=3, keepalive=5.0, ping_timeout=1e6,
        )  # fmt: skip
        self.now = 0.0
        self.sides = (Yamux(True, 0.0, limits), Yamux(False, 0.0, limits))
        self.wires = [bytearray(), bytearray()]  # what each side has been sent
        self.sent: dict[tuple[int, int], bytearray] = {}
        self.got: dict[tuple[int, int], bytearray] = {}
        self.owed: dict[tuple[int, int], int] = {}
        self.finished: set[tuple[int, int]] = set()
        self.ended: set[tuple[int, int]] = set()
        self.reset: set[int] = set()
        self.counter = 0

    def note(self, side: int, events: list[YamuxEvent]) -> None:
        for event in events:
            if isinstance(event, DataReceived):
                assert (side, event.stream_id) not in self.ended
                self.got.setdefault((side, event.stream_id), bytearray()).extend(event.data)
                self.owed[side, event.stream_id] = self.owed.get((side, event.stream_id), 0) + len(event.data)
            elif isinstance(event, StreamFinished):
                self.ended.add((side, event.stream_id))
            elif isinstance(event, StreamReset):
                self.reset.add(event.stream_id)
            elif isinstance(event, WindowOpened):
                over = event.stream_id not in self.sides[side].streams  # reset by the next frame
                assert over or 0 < event.room <= self.sides[side].sendable(event.stream_id)

    def pick(self, side: int, choice: int) -> int | None:
        numbers = self.sides[side].streams
        return numbers[choice % len(numbers)] if numbers else None

    @rule(side=st.integers(0, 1), size=st.integers(0, 12))
    def open(self, side: int, size: int) -> None:
        if self.sides[side]._outgoing == 4:
            return
        self.write(side, self.sides[side].open(), size)

    def write(self, side: int, number: int, size: int) -> None:
        machine = self.sides[side]
        data = bytes((self.counter + offset) % 256 for offset in range(size))
        sendable = machine.sendable(number)
        taken = machine.send(number, data)
        assert taken == min(size, sendable)
        self.counter += taken
        self.sent.setdefault((side, number), bytearray()).extend(data[:taken])

    @rule(side=st.integers(0, 1), choice=st.integers(0, 9), size=st.integers(0, 60))
    def send(self, side: int, choice: int, size: int) -> None:
        number = self.pick(side, choice)
        if number is not None and (side, number) not in self.finished:
            self.write(side, number, size)

    @rule(side=st.integers(0, 1), choice=st.integers(0, 9))
    def finish(self, side: int, choice: int) -> None:
        number = self.pick(side, choice)
        if number is not None:
            self.sides[side].finish(number)
            self.finished.add((side, number))

    @rule(side=st.integers(0, 1), choice=st.integers(0, 9), really=st.integers(0, 3))
    def abort(self, side: int, choice: int, really: int) -> None:
        number = self.pick(side, choice)
        if number is not None and not really:
            self.sides[side].reset(number)
            self.reset.add(number)

    @rule(side=st.integers(0, 1), share=st.integers(1, 4))
    def consume(self, side: int, share: int) -> None:
        for (owner, number), count in list(self.owed.items()):
            if owner == side and count:
                some = max(1, count // share)
                self.sides[side].consumed(number, some)
                self.owed[side, number] = count - some

    @rule(side=st.integers(0, 1))
    def take(self, side: int) -> None:
        self.wires[1 - side] += self.sides[side].take()

    @rule(side=st.integers(0, 1), size=st.integers(1, 40))
    def deliver(self, side: int, size: int) -> None:
        chunk = bytes(self.wires[side][:size])
        del self.wires[side][:size]
        self.note(side, self.sides[side].receive(chunk, self.now))

    @rule(side=st.integers(0, 1), later=st.floats(0, 1))
    @precondition(lambda self: not any(self.wires))
    def wake(self, side: int, later: float) -> None:
        self.now += later
        self.note(side, self.sides[side].wake(self.now))

    @invariant()
    def what_came_is_what_was_sent(self) -> None:
        for (side, number), data in self.got.items():
            assert self.sent[1 - side, number].startswith(data)
        for machine in self.sides:
            for stream in machine._streams.values():
                assert 0 <= stream.receive_window <= stream.window <= 4 * self.window
                assert stream.send_window >= 0
                assert len(stream.queue) <= self.unsent
                assert not stream.queue or stream.allowance(machine._epoch, self.unsent) == 0  # or bytes could overtake
                assert stream.receive_window + stream.unconsumed + stream.owed <= stream.window

    def teardown(self) -> None:
        """Let everything arrive: then all of it has, and what was finished is finished on both sides."""
        for _ in range(400):
            for side in (0, 1):
                self.take(side)
                self.deliver(side, 1 << 20)
                self.note(side, self.sides[side].wake(self.now))
                self.consume(side, 1)
        for (side, number), data in self.sent.items():
            if number not in self.reset and data:
                assert self.got.get((1 - side, number), b"") == data
            if number not in self.reset and (side, number) in self.finished:
                assert (1 - side, number) in self.ended
        assert not any(machine.take() for machine in self.sides)
        assert {n for n in self.sides[0].streams if n in self.reset} == set()


class OneByteWindows(Conversation):
    """The same with windows of one byte."""

    window = 1
    unsent = 3


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOneByteWindows = OneByteWindows.TestCase
TestOneByteWindows.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
