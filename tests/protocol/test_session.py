"""A private session: what two honest ends reach, and what an attacker on the wire, at the port or inside gets."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.codec.frames import encode_frame
from berty_core.codec.pb import session_pb2 as pb
from berty_core.crypto.keys import PrivateKey, Secret
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.protocol.group import LogKind, new_group
from berty_core.protocol.noise import NoiseHandshake, encode_message
from berty_core.protocol.offers import GroupOffers, GroupProven, Level, group_tag, member_proof, presence_text
from berty_core.protocol.rendezvous import advert_tag, contact_point, session_secret
from berty_core.protocol.session import (
    HANDSHAKE_TIMEOUT,
    MAGIC,
    MAX_HANDSHAKE_MESSAGE,
    MAX_HEADER,
    MAX_STREAMS,
    PROLOGUE,
    TRANSITIONS,
    VERSION,
    Opened,
    Pace,
    ReplayGuard,
    Session,
    SessionEvent,
    SessionState,
    StreamData,
    StreamEnded,
    StreamStarted,
)
from berty_core.protocol.yamux import INITIAL_WINDOW
from berty_core.protocol.yamux_stream import ACK, DATA, FIN, HEADER, PING, RST, SYN, WINDOW_UPDATE

from .conversation import (
    SECRET,
    TAG,
    End,
    Entropy,
    accept,
    converse,
    dial,
    ephemeral,
    identity,
    make_block,
    make_logs,
    open_pair,
)

GROUP = new_group(Entropy("a group"))[0]
ANN, BOB, EVE = (PrivateKey(bytes([number]) * 32) for number in (1, 2, 3))


def recorded() -> tuple[bytes, bytes, bytes]:
    """What passes the link in an undisturbed handshake."""
    one, other = dial(), accept()
    first = one.take()
    other.receive(first, 0.0)
    second = other.take()
    one.receive(second, 0.0)
    return first, second, one.take()


FIRST, SECOND, THIRD = recorded()


def refuses(session: Session, data: bytes) -> str:
    """Whether a session that gets these bytes ends without a word; returns its reason."""
    with pytest.raises(RemoteProtocolError) as caught:
        session.receive(data, 0.0)
    assert session.state is SessionState.CLOSED
    assert session.take() == b""
    assert session.receive(b"more", 0.0) == []
    assert session.timeout() is None
    return str(caught.value)


def of(events: list[SessionEvent], kind: type) -> list[SessionEvent]:
    """The events of one class."""
    return [event for event in events if isinstance(event, kind)]


# -- two honest ends ---------------------------------------------------------------------------------


def test_the_handshake() -> None:
    """Both learn the same hash, the other's node key, what it can do, and its beacon."""
    one, other = dial(), accept(profile="wesh")
    assert (one.state, other.state) == (SessionState.HANDSHAKE, SessionState.WAITING_FOR_TAG)
    first = one.take()
    assert first[:9] == bytes([MAGIC]) + TAG
    assert other.receive(first, 0.0) == []
    (answered,) = one.receive(other.take(), 0.0)
    (opened,) = other.receive(one.take(), 0.0)
    assert isinstance(answered, Opened)
    assert isinstance(opened, Opened)
    assert answered.handshake_hash == opened.handshake_hash
    assert (answered.peer, opened.peer) == (identity("Bob").public, identity("Ann").public)
    assert (answered.profile, opened.profile) == ("wesh", "berty")
    assert (answered.beacon_nonce, opened.beacon_nonce) == (identity("Bob").beacon_nonce, identity("Ann").beacon_nonce)
    assert answered.capabilities == opened.capabilities == ("entries",)
    assert one.state is other.state is SessionState.OPEN


@pytest.mark.parametrize("size", [1, 2, 13])
def test_links_may_cut_anywhere(size: int) -> None:
    """The same conversation in small pieces comes to the same end."""
    one, other = dial(), accept()
    seen: list[SessionEvent] = []
    for _ in range(3):
        for source, target in ((one, other), (other, one)):
            data = source.take()
            for start in range(0, len(data), size):
                seen += target.receive(data[start : start + size], 0.0)
    assert len(of(seen, Opened)) == 2
    number = one.open_stream("control", b"tag")
    one.send(number, b"x" * 3000)
    data, seen = one.take(), []
    for start in range(0, len(data), size):
        seen += other.receive(data[start : start + size], 0.0)
    assert of(seen, StreamStarted) == [StreamStarted(number, "control", b"tag")]
    assert b"".join(event.data for event in seen if isinstance(event, StreamData)) == b"x" * 3000


def test_early_bytes_behind_the_handshake_are_read() -> None:
    """The dialler may send its first stream together with the last message of the handshake."""
    one, other = dial(), accept()
    other.receive(one.take(), 0.0)
    one.receive(other.take(), 0.0)
    number = one.open_stream("control")
    events = other.receive(one.take(), 0.0)
    assert [type(event) for event in events] == [Opened, StreamStarted]
    assert number == 1


def test_streams_end_one_side_at_a_time() -> None:
    """What was sent before the end arrives before it; the other direction goes on; then the stream is forgotten."""
    one, other = open_pair()
    number = one.open_stream("group", b"t")
    one.send(number, b"a" * (INITIAL_WINDOW + 5000))
    one.finish(number)
    one.send(number, b"dropped, it is finished")
    assert one.backlog(number) >= 5000 - 20
    events = other.receive(one.take(), 0.0)
    assert of(events, StreamEnded) == []
    got = 0
    while not of(events, StreamEnded):
        for event in of(events, StreamData):
            assert isinstance(event, StreamData)
            got += len(event.data)
            other.consumed(number, len(event.data))
        one.receive(other.take(), 0.0)
        events = other.receive(one.take(), 0.0)
    got += sum(len(event.data) for event in events if isinstance(event, StreamData))
    assert got == INITIAL_WINDOW + 5000
    assert of(events, StreamEnded) == [StreamEnded(number, reset=False)]
    other.send(number, b"answer")
    assert of(one.receive(other.take(), 0.0), StreamData) == [StreamData(number, b"answer")]
    other.finish(number)
    assert one.receive(other.take(), 0.0) == [StreamEnded(number, reset=False)]
    one.take()
    assert not one._streams
    assert one.backlog(number) == 0


def test_a_reset_ends_one_stream() -> None:
    """A stream that one side resets is gone on both; others go on."""
    one, other = open_pair()
    gone, kept = one.open_stream("group"), one.open_stream("group")
    other.receive(one.take(), 0.0)
    other.reset(gone)
    assert one.receive(other.take(), 0.0) == [StreamEnded(gone, reset=True)]
    one.send(gone, b"nobody hears it")
    one.send(kept, b"heard")
    assert other.receive(one.take(), 0.0) == [StreamData(kept, b"heard")]


def test_the_table_is_complete() -> None:
    """Every state has its row, a closed session stays closed, and what is no transition is our own mistake."""
    assert set(TRANSITIONS) == set(SessionState)
    assert TRANSITIONS[SessionState.CLOSED] == ()
    for state in SessionState:
        for then in SessionState:
            session = accept()
            session.state = state
            if then in (state, *TRANSITIONS[state]):
                session._move(then)
                assert session.state is then
            else:
                with pytest.raises(LocalProtocolError):
                    session._move(then)


def test_misuse_is_our_fault() -> None:
    """Streams exist once the session is open."""
    for session in (dial(), accept()):
        for call in (lambda s=session: s.open_stream("x"), lambda s=session: s.consumed(1, 1)):
            with pytest.raises(LocalProtocolError):
                call()
        session.ping()
        assert session.timeout() == HANDSHAKE_TIMEOUT
    one, _ = open_pair()
    with pytest.raises(LocalProtocolError):
        one.open_stream("x" * MAX_HEADER)


def test_closing_says_goodbye_once() -> None:
    """A session that we close sends its last bytes and then reads nothing."""
    one, other = open_pair()
    one.close()
    assert one.state is SessionState.CLOSED
    last = one.take()
    assert last
    assert other.receive(last, 0.0) == []
    assert one.receive(b"anything", 0.0) == []
    waiting = accept()
    waiting.close()
    assert waiting.take() == b""


def test_a_silent_peer_is_asked_and_then_given_up() -> None:
    """Half a minute of silence causes a ping; no sign of life after it ends the session."""
    one, other = open_pair()
    due = one.timeout()
    assert due == 30.0
    one.wake(due)
    other.receive(one.take(), due)
    one.receive(other.take(), due + 0.1)
    assert one.timeout() == pytest.approx(due + 30.1)
    one.wake(due + 30.1)
    assert one.take()
    with pytest.raises(RemoteProtocolError, match="silent"):
        one.wake(due + 60)
    assert one.state is SessionState.CLOSED
    assert one.timeout() is None


# -- without the key -----------------------------------------------------------------------------------


def test_own_bytes_come_back() -> None:
    """Reflection: neither end takes its own messages, in the handshake or behind it."""
    assert refuses(dial(), FIRST[9:])
    one = dial()
    mine = one.take()
    assert refuses(one, mine)
    other = accept()
    other.receive(FIRST, 0.0)
    assert refuses(other, other.take())
    one, other = open_pair()
    for end in (one, other):
        end.ping()
        with pytest.raises(RemoteProtocolError, match="authenticate"):
            end.receive(end.take(), 0.0)


def test_our_own_advert_shown_by_somebody_else() -> None:
    """A node that is led to dial itself notices it, and says nothing more."""
    one, other = dial("Ann"), Session.accept(identity("Ann"), {TAG: SECRET}.get, ReplayGuard(), ephemeral("x"), 0.0)
    other.receive(one.take(), 0.0)
    assert "our own advert" in refuses(one, other.take())


def test_a_recorded_handshake_is_not_answered() -> None:
    """Replay: the first message, seen before, gets no byte; where the memory is gone, the third does not fit."""
    guard = ReplayGuard()
    other = accept(guard=guard)
    other.receive(FIRST, 0.0)
    other.take()
    assert "recorded" in refuses(accept("Bob later", guard=guard), FIRST)
    forgetful = accept("Bob later")
    forgetful.receive(FIRST, 0.0)
    assert forgetful.take()
    assert refuses(forgetful, THIRD)
    assert refuses(dial("Ann later"), SECOND)


def test_recorded_transport_frames_are_refused() -> None:
    """Replay behind the handshake: a message that came before, came from elsewhere, or skips one ends the session."""
    one, other = open_pair()
    number = one.open_stream("control")
    message = one.take()
    assert other.receive(message, 0.0)
    with pytest.raises(RemoteProtocolError, match="authenticate"):
        other.receive(message, 0.0)
    one, other = open_pair()
    number = one.open_stream("control")
    one.take()
    one.send(number, b"the one before is missing")
    with pytest.raises(RemoteProtocolError, match="authenticate"):
        other.receive(one.take(), 0.0)
    late = open_pair(dial("Ann later"), accept("Bob later"))[1]
    with pytest.raises(RemoteProtocolError, match="authenticate"):
        late.receive(message, 0.0)


def test_the_guard_forgets_the_oldest() -> None:
    """Its memory is bounded."""
    guard = ReplayGuard(limit=3)
    assert [guard.is_new(bytes([number])) for number in (1, 2, 3, 1, 4)] == [True, True, True, False, True]
    assert guard.is_new(b"\x01")
    assert not guard.is_new(b"\x04")


@pytest.mark.parametrize("cut", range(len(FIRST)))
def test_a_dialler_that_stops_anywhere(cut: int) -> None:
    """Truncation: an unfinished first message gets no byte, and the link is closed in time."""
    other = accept(now=5.0)
    assert other.receive(FIRST[:cut], 5.0) == []
    assert other.take() == b""
    assert_gives_up(other, 5.0 + HANDSHAKE_TIMEOUT)


@pytest.mark.parametrize(("role", "message"), [(True, SECOND), (False, THIRD)], ids=["second", "third"])
def test_a_peer_that_stops_anywhere(role: bool, message: bytes) -> None:
    """Truncation of the second and third message: nothing opens, and nothing more is said."""
    for cut in range(len(message)):
        end = dial() if role else accept()
        if not role:
            end.receive(FIRST, 0.0)
        end.take()
        assert end.receive(message[:cut], 0.0) == []
        assert end.take() == b""
        assert_gives_up(end, HANDSHAKE_TIMEOUT)


def assert_gives_up(end: Session, due: float) -> None:
    """It ends at this moment and not before, without a word."""
    assert end.timeout() == due
    end.wake(due - 0.01)
    assert end.state is not SessionState.CLOSED
    with pytest.raises(RemoteProtocolError, match="no session within"):
        end.wake(due)
    assert end.state is SessionState.CLOSED
    assert end.take() == b""
    end.wake(due + 1)
    assert end.timeout() is None


@pytest.mark.parametrize(
    ("name", "message"), [("first", FIRST), ("second", SECOND), ("third", THIRD)], ids=["first", "second", "third"]
)
def test_a_flipped_bit_anywhere(name: str, message: bytes) -> None:
    """No byte of the handshake can be changed: it ends or waits, in silence, and never opens."""
    for place in range(len(message)):
        end = dial() if name == "second" else accept()
        if name == "third":
            end.receive(FIRST, 0.0)
        end.take()
        changed = bytearray(message)
        changed[place] ^= 1 << (place * 5 % 8)
        try:
            events = end.receive(bytes(changed), 0.0)
        except RemoteProtocolError:
            assert end.state is SessionState.CLOSED
        else:  # a length that grew: the rest never comes
            assert events == []
            assert end.state is not SessionState.OPEN
        assert end.take() == b""


def test_a_flipped_bit_behind_the_handshake() -> None:
    """No byte of what follows can be changed either."""
    one, other = open_pair()
    one.send(one.open_stream("control"), b"some text that is long enough")
    message = one.take()
    for place in range(2, len(message)):
        _, other = open_pair()
        changed = bytearray(message)
        changed[place] ^= 1 << (place % 8)
        with pytest.raises(RemoteProtocolError, match="authenticate"):
            other.receive(bytes(changed), 0.0)
        assert other.state is SessionState.CLOSED


@pytest.mark.parametrize("first", [0x00, 0x13, 0x47, 0xFF])
def test_another_protocol(first: int) -> None:
    """A link that begins otherwise is closed at its first byte."""
    assert refuses(accept(), bytes([first])) == "not a private session"
    assert refuses(accept(), bytes([first]) + bytes(500)) == "not a private session"


def test_who_lacks_the_key_hears_nothing() -> None:
    """A wrong key, a tag that is not shown, and one that names nothing fail alike, at the first message's end."""
    reasons = set()
    for tag, secret in ((TAG, Secret(bytes(32))), (b"not here", SECRET), (bytes(8), Secret(bytes(32)))):
        knock = dial("Eve", tag, secret).take()
        other = accept()
        assert other.receive(knock[:-1], 0.0) == []
        assert other.take() == b""
        reasons.add(refuses(other, knock[-1:]))
    assert len(reasons) == 1


def test_nobody_can_be_dialled_who_shows_nothing() -> None:
    """A node without groups and links answers nobody."""
    other = Session.accept(identity("Bob"), {}.get, ReplayGuard(), ephemeral("Bob"), 0.0)
    assert refuses(other, FIRST)


def test_who_answers_without_the_key_learns_nothing() -> None:
    """The dialler's first message has no payload, and an answer under another key is refused in silence."""
    eve = Session.accept(identity("Eve"), lambda tag: Secret(bytes(32)), ReplayGuard(), ephemeral("Eve"), 0.0)
    assert refuses(eve, FIRST)
    noise = NoiseHandshake(False, identity("Eve").key, ephemeral("Eve"), PROLOGUE + TAG, bytes(32))
    with pytest.raises(RemoteProtocolError):
        noise.read_message(FIRST[11:])
    assert len(FIRST) == 9 + 2 + 32 + 16


@pytest.mark.parametrize("length", [MAX_HANDSHAKE_MESSAGE + 1, 0x8000, 0xFFFF])
def test_a_long_message_is_refused_by_its_length(length: int) -> None:
    """A length above the limit ends the handshake before its bytes come."""
    other = accept()
    assert refuses(other, FIRST[:9] + length.to_bytes(2, "big"))
    assert refuses(dial(), length.to_bytes(2, "big"))


@settings(max_examples=150, deadline=None)
@given(
    st.booleans(),
    st.sampled_from([b"", FIRST[:9], FIRST, SECOND]),
    st.lists(st.binary(max_size=300), max_size=8),
)
def test_any_bytes_of_a_stranger(initiator: bool, begin: bytes, chunks: list[bytes]) -> None:
    """Whatever comes: nothing, or RemoteProtocolError and silence; nothing opens."""
    end = dial() if initiator else accept()
    honest = {(True, SECOND), (False, FIRST)}
    end.take()
    try:
        for chunk in [begin, *chunks]:
            assert of(end.receive(chunk, 0.0), StreamStarted) == []
    except RemoteProtocolError:
        assert end.state is SessionState.CLOSED
        if (initiator, begin) not in honest:
            assert end.take() == b""
    assert len(end._early) + len(end._messages._buffer) <= 9 + 2 + MAX_HANDSHAKE_MESSAGE + 300


# -- who has the key of the point ----------------------------------------------------------------------


def greet(initiator: bool, greeting: bytes, payload_1: bytes = b"") -> tuple[Session, Callable[[], list[SessionEvent]]]:
    """An honest end, and what lets it hear this greeting from a peer that has the key."""
    keys = (identity("Eve").key, ephemeral("Eve"))
    if initiator:  # the peer is the dialler
        end, peer = accept(), NoiseHandshake(True, *keys, PROLOGUE + TAG, SECRET)
        end.receive(bytes([MAGIC]) + TAG + encode_message(peer.write_message(payload_1)), 0.0)
        peer.read_message(end.take()[2:])
    else:
        end, peer = dial(), NoiseHandshake(False, *keys, PROLOGUE + TAG, SECRET)
        peer.read_message(end.take()[11:])
    message = encode_message(peer.write_message(greeting))
    return end, lambda: end.receive(message, 0.0)


@pytest.mark.parametrize("initiator", [True, False])
@pytest.mark.parametrize(("low", "high"), [(2, 3), (0, 0), (VERSION + 1, 2**32 - 1), (5, 1)])
def test_another_version(initiator: bool, low: int, high: int) -> None:
    """Where the ranges do not meet both are named, and nothing more is said."""
    end, hear = greet(initiator, pb.Greeting(version_min=low, version_max=high).SerializeToString())
    with pytest.raises(RemoteProtocolError, match=f"versions {low} to {high}"):
        hear()
    assert end.state is SessionState.CLOSED
    assert end.take() == b""


@pytest.mark.parametrize("initiator", [True, False])
def test_what_a_later_version_adds_is_ignored(initiator: bool) -> None:
    """Unknown capabilities are handed on, at most 32; unknown fields and a payload in message 1 change nothing."""
    greeting = pb.Greeting(
        version_min=0,
        version_max=9,
        capabilities=[f"capability {number}" for number in range(40)],
        profile="p" * 100,
        beacon_nonce=bytes(20),
    ).SerializeToString()
    _, hear = greet(initiator, greeting + b"\xf2\x01\x03new", b"something")
    (opened,) = hear()
    assert isinstance(opened, Opened)
    assert opened.capabilities == tuple(f"capability {number}" for number in range(32))
    assert (len(opened.profile), len(opened.beacon_nonce)) == (32, 8)


@pytest.mark.parametrize("initiator", [True, False])
@given(data=st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_greeting(initiator: bool, data: bytes) -> None:
    """Any greeting opens the session or ends it."""
    end, hear = greet(initiator, data)
    try:
        events = hear()
    except RemoteProtocolError:
        assert end.take() == b""
    else:
        assert isinstance(events[0], Opened)


def test_a_peer_that_speaks_out_of_turn() -> None:
    """Two messages where one is due end the handshake, and what was to be answered is not."""
    one, other = dial(), accept()
    other.receive(one.take(), 0.0)
    assert refuses(accept(), FIRST + encode_message(bytes(48)))


class Insider:
    """A peer with the key, whose yamux frames are its own: it breaks the rules of streams."""

    def __init__(self) -> None:
        self.session, self.victim = open_pair(dial("Eve"), accept())
        self.take()

    def say(self, *frames: bytes) -> list[SessionEvent]:
        """Send raw yamux frames."""
        assert self.session._channel is not None
        return self.victim.receive(self.session._channel.send(b"".join(frames)), 0.0)

    def take(self) -> bytes:
        """The yamux frames that the victim sent."""
        assert self.session._channel is not None
        return self.session._channel.receive(self.victim.take())


def frame(kind: int, flags: int, number: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """One yamux frame."""
    return HEADER.pack(0, kind, flags, number, len(payload) if length is None else length) + payload


def header(kind: str, tag: bytes = b"") -> bytes:
    """A stream's header as it goes out."""
    return encode_frame(pb.StreamHeader(type=kind, tag=tag).SerializeToString(), 100_000)


def yamux_frames(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Kind, flags, stream and length of frames."""
    while data:
        _, kind, flags, number, length = HEADER.unpack(data[:12])
        yield kind, flags, number, length
        data = data[12 + (length if kind == DATA else 0) :]


def test_a_flood_of_streams() -> None:
    """Streams above the limits are reset; those that there are work, and memory stays small."""
    insider = Insider()
    first = insider.say(frame(DATA, SYN, 1, header("control")))
    assert first == [StreamStarted(1, "control", b"")]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    answers = b""
    for start in range(3, 20_003, 200):  # none of them says what it is
        insider.say(*(frame(DATA, SYN, number, b"\x01") for number in range(start, start + 200, 2)))
        answers += insider.take()
    held = tracemalloc.get_traced_memory()[0] - before - len(answers)
    tracemalloc.stop()
    resets = [number for _, flags, number, _ in yamux_frames(answers) if flags & RST]
    assert len(resets) == 10_001 - MAX_STREAMS
    assert len(insider.victim._streams) <= MAX_STREAMS
    assert held < 3_000_000
    assert insider.say(frame(DATA, 0, 1, b"still works")) == [StreamData(1, b"still works")]


def test_streams_with_headers_are_limited_too() -> None:
    """As many streams as a session takes may come at once; those above are reset."""
    insider = Insider()
    events = insider.say(*(frame(DATA, SYN, number, header("group")) for number in range(1, 4001, 2)))
    assert len(of(events, StreamStarted)) == MAX_STREAMS
    flags = [flags for _, flags, _, _ in yamux_frames(insider.take())]
    assert sum(1 for each in flags if each & RST) == 2000 - MAX_STREAMS


@pytest.mark.parametrize(
    "data",
    [
        encode_frame(b"\xff" * 20, 100),
        b"\xff" * 10,
        b"\x80\x00",
        header("x" * (MAX_HEADER + 1)),
        b"\x80\x80\x80\x80\x08",
    ],
    ids=["no header", "no length", "a long form", "too long", "of 2^31 bytes"],
)
def test_a_bad_header_ends_that_stream_only(data: bytes) -> None:
    """A stream that does not say what it is is reset, and nothing is told of it; the next one works."""
    insider = Insider()
    events = insider.say(frame(DATA, SYN, 1, data)) + insider.say(frame(DATA, 0, 1, b"more"))
    assert of(events, StreamStarted) == of(events, StreamData) == []
    if (flags := [flags for _, flags, number, _ in yamux_frames(insider.take()) if number == 1]) != []:
        assert flags[-1] & RST
    assert insider.say(frame(DATA, SYN, 3, header("control"))) == [StreamStarted(3, "control", b"")]


def test_an_empty_header_has_an_empty_type() -> None:
    """A type of no letters is one that nobody knows."""
    assert Insider().say(frame(DATA, SYN, 1, b"\x00")) == [StreamStarted(1, "", b"")]


def test_more_than_the_window() -> None:
    """Bytes beyond the window end the session: at once when announced, and counted over many frames."""
    insider = Insider()
    insider.say(frame(DATA, SYN, 1, header("group")))
    with pytest.raises(RemoteProtocolError, match="window"):
        insider.say(frame(DATA, 0, 1, length=INITIAL_WINDOW + 1))
    insider = Insider()
    insider.say(frame(DATA, SYN, 1, header("group")))
    room = INITIAL_WINDOW
    with pytest.raises(RemoteProtocolError, match="window"):
        for _ in range(6):
            insider.say(frame(DATA, 0, 1, bytes(50_000)))
            room -= 50_000
    assert room > 0  # what came before that fitted
    assert insider.victim.state is SessionState.CLOSED


@pytest.mark.parametrize(
    "wire",
    [
        frame(DATA, 0, 9, b"never opened"),
        frame(DATA, SYN, 2, b"our kind of number"),
        frame(DATA, SYN, 0, b"no stream"),
        frame(7, 0, 1),
        frame(DATA, 0x10, 1, b"unknown flag"),
        b"\x01" + frame(DATA, SYN, 1, b"")[1:],
        frame(PING, SYN, 1),
        frame(DATA, SYN, 3, b"") + frame(DATA, SYN, 3, b""),
        frame(DATA, SYN, 5, b"\x05") + frame(WINDOW_UPDATE, 0, 5, length=0xFFFFFFFF) * 2,
    ],
    ids=["unopened", "parity", "zero", "type", "flag", "version", "ping", "twice", "window"],
)
def test_frames_that_break_the_rules(wire: bytes) -> None:
    """Each of these ends the session."""
    insider = Insider()
    with pytest.raises(RemoteProtocolError):
        insider.say(wire)
    assert insider.victim.state is SessionState.CLOSED


def test_a_flood_of_pings_is_answered_within_bounds() -> None:
    """Ten thousand pings cost at most 32 answers before we write."""
    insider = Insider()
    insider.say(frame(PING, SYN, 0, length=7) * 10_000)
    assert len(list(yamux_frames(insider.take()))) == 32


FRAMES = st.builds(
    frame,
    st.sampled_from([DATA, WINDOW_UPDATE, PING, 3, 4]),
    st.sampled_from([0, SYN, ACK, FIN, RST, SYN | FIN, 16]),
    st.sampled_from([0, 1, 2, 3, 5, 2**32 - 1]),
    st.one_of(st.binary(max_size=40), st.sampled_from([header("control"), header("group", b"t" * 16)])),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(FRAMES, st.binary(max_size=30)), max_size=12))
def test_any_frames_of_an_insider(frames: list[bytes]) -> None:
    """Whatever a peer with the key sends: events, or RemoteProtocolError."""
    insider = Insider()
    try:
        for wire in frames:
            for event in insider.say(wire):
                assert isinstance(event, StreamStarted | StreamData | StreamEnded)
            insider.victim.take()
    except RemoteProtocolError:
        assert insider.victim.state is SessionState.CLOSED


# -- members, replicas, and who stands between -----------------------------------------------------------


def history(count: int, kind: int) -> list[bytes]:
    """A log with one entry at each time."""
    return [make_block(time, kind) for time in range(1, count + 1)]


def member(session: Session, device: PrivateKey, count: int = 5) -> End:
    """A member of the group with some of its history."""
    logs = make_logs(history(count, 0), history(count, 1))
    return End(session, [(GROUP, device)], {GROUP.id: logs}, Entropy(device.public.hex()))


def replica(session: Session) -> End:
    """Somebody who holds the group's link key, and nothing else of it."""
    return End(session, [(GROUP.reduced(), EVE)])


def levels(end: End) -> list[tuple[Level, bytes | None]]:
    """What the other side has proven."""
    return [(event.level, event.device) for event in end.proven]


def test_members_name_their_devices_and_get_in_step() -> None:
    """Two members prove the secret and their devices, and exchange what they lack."""
    one, other = member(dial(), ANN, 8), member(accept(), BOB, 3)
    converse(one, other)
    assert levels(one) == [(Level.MEMBER, BOB.public)]
    assert levels(other) == [(Level.MEMBER, ANN.public)]
    for kind in LogKind:
        assert one.logs[GROUP.id][kind].blocks() == other.logs[GROUP.id][kind].blocks()
        assert len(one.logs[GROUP.id][kind].blocks()) == 8


@pytest.mark.parametrize("dials", [True, False])
def test_who_holds_the_link_key_gets_entries_and_no_names(dials: bool) -> None:
    """A replica is given all entries; no device is named to it, and it counts as no member."""
    if dials:
        eve, ann = replica(dial()), member(accept(), ANN)
        converse(eve, ann)
    else:
        eve, ann = replica(accept()), member(dial(), ANN)
        converse(ann, eve)
    assert levels(ann) == [(Level.REPLICA, None)]
    assert levels(eve) == [(Level.REPLICA, None)]
    for kind in LogKind:
        assert eve.logs[GROUP.id][kind].blocks() == set(history(5, kind))
    assert ann.control
    heard = b"".join(eve.control)
    assert bytes(ANN.public) not in heard
    assert all(pb.ControlFrame.FromString(each).WhichOneof("frame") != "presence" for each in eve.control)


def lie(*frames: pb.ControlFrame) -> tuple[End, list[pb.ControlFrame]]:
    """An honest member that is shown the group's tag, then these frames, by who has the link key; and its answers."""
    ann = member(accept(), ANN)
    eve, _ = open_pair(dial("Eve"), ann.session)
    ann.receive(b"")
    ann.opened = Opened(b"", _hash(eve), (), "", b"")
    ann.offers = GroupOffers(_hash(eve), initiator=False, entropy=ann.entropy)
    ann.offers.offer(ann.groups)
    tags = [group_tag(GROUP, _hash(eve), True), *(Entropy("padding")(16) for _ in range(15))]
    ann.receive_control(pb.ControlFrame(offer=pb.Offer(tags=b"".join(tags))).SerializeToString())
    for each in frames:
        ann.receive_control(each.SerializeToString())
    return ann, [pb.ControlFrame.FromString(each) for each in ann.offers.take()]


def _hash(session: Session) -> bytes:
    assert session._noise is not None
    return session._noise.handshake_hash


def known() -> tuple[bytes, bytes]:
    """The handshake hash of `lie`, and the tag of who lies."""
    eve, _ = open_pair(dial("Eve"), accept())
    return _hash(eve), group_tag(GROUP, _hash(eve), True)


def test_a_false_proof_ends_the_session() -> None:
    """Neither a made-up proof, nor the member's own proof sent back, nor one of another group is taken."""
    hash_, tag = known()
    other = new_group(Entropy("another group"))[0]
    for mac in (bytes(32), b"\x01", member_proof(GROUP, hash_, False), member_proof(other, hash_, True)):
        with pytest.raises(RemoteProtocolError, match="false proof of a group"):
            lie(pb.ControlFrame(proof=pb.Proof(tag=tag, mac=mac)))


def test_a_device_that_is_not_there_is_not_believed() -> None:
    """A presence needs a proof before it, and a signature for this session, role and group by the named device."""
    hash_, tag = known()
    proof = pb.ControlFrame(proof=pb.Proof(tag=tag, mac=member_proof(GROUP, hash_, True)))
    text = presence_text(GROUP, hash_, True)

    def presence(device: bytes, signature: bytes) -> pb.ControlFrame:
        return pb.ControlFrame(presence=pb.Presence(tag=tag, device=device, signature=signature))

    ann, _ = lie(presence(EVE.public, EVE.sign(text)))
    assert ann.proven == []
    other = presence_text(GROUP, bytes(32), True)
    reflected = presence_text(GROUP, hash_, False)
    for device, signature in (
        (BOB.public, EVE.sign(text)),
        (EVE.public, EVE.sign(other)),
        (EVE.public, EVE.sign(reflected)),
        (ANN.public, ANN.sign(reflected)),
        (ANN.public, ANN.sign(text)),
        (EVE.public, b""),
        (b"short", EVE.sign(text)),
        (bytes(32), bytes(64)),
    ):
        with pytest.raises(RemoteProtocolError):
            lie(proof, presence(device, signature))
    ann, _ = lie(proof, presence(EVE.public, EVE.sign(text)))
    assert levels(ann) == [(Level.MEMBER, EVE.public)]


def test_a_replica_stays_one() -> None:
    """Who has said that it is a replica becomes no member by a later proof or presence."""
    hash_, tag = known()
    ann, _ = lie(
        pb.ControlFrame(proof=pb.Proof(tag=tag)),
        pb.ControlFrame(proof=pb.Proof(tag=tag, mac=member_proof(GROUP, hash_, True))),
        pb.ControlFrame(
            presence=pb.Presence(tag=tag, device=EVE.public, signature=EVE.sign(presence_text(GROUP, hash_, True)))
        ),
    )
    assert levels(ann) == [(Level.REPLICA, None)]


def relay(one: End, other: End, left: End, right: End, rewrite: Callable[[End, bytes], bytes]) -> None:
    """Carry control frames between two sessions of somebody who stands between, for a while."""
    for _ in range(12):
        for honest, near, far in ((one, left, right), (other, right, left)):
            near.receive(honest.take())
            honest.receive(near.take())
            while near.control and far._control_stream is not None:
                said = rewrite(far, near.control.pop(0))
                far.session.send(far._control_stream, encode_frame(said, 100_000))


class Between(End):
    """One half of a man in the middle: it hands control frames on, and answers none of them."""

    def receive_control(self, frame: bytes, now: float = 0.0) -> None:
        self.control.append(frame)


def in_the_middle() -> tuple[End, End, Between, Between]:
    """Ann and Bob, who each have a session with somebody who knows the point's key and stands between them."""
    ann, bob = member(dial("Ann"), ANN), member(accept("Bob"), BOB)
    return ann, bob, Between(accept("Eve left")), Between(dial("Eve right"))


def test_a_relay_proves_nothing() -> None:
    """Who holds the point's key and passes frames on between two honest members: neither recognises anything."""
    ann, bob, left, right = in_the_middle()
    relay(ann, bob, left, right, lambda _, each: each)
    assert ann.opened is not None
    assert bob.opened is not None
    assert ann.opened.handshake_hash != bob.opened.handshake_hash
    assert [len(end.control) for end in (ann, bob)] == [1, 1]
    assert ann.learnt == bob.learnt == []


def test_a_relay_with_the_link_key_is_found_out_at_the_proof() -> None:
    """With fitting tags for both sides, the proofs that it passes on belong to the other session."""
    ann, bob, left, right = in_the_middle()

    def rewrite(far: End, data: bytes) -> bytes:
        """Put the tag in that the far side expects."""
        assert far.opened is not None
        tag = group_tag(GROUP, far.opened.handshake_hash, far.session.initiator)
        said = pb.ControlFrame.FromString(data)
        if said.WhichOneof("frame") == "offer":
            said.offer.tags = tag + said.offer.tags[16:]
        else:
            getattr(said, said.WhichOneof("frame") or "").tag = tag
        return said.SerializeToString()

    with pytest.raises(RemoteProtocolError, match="false proof of a group"):
        relay(ann, bob, left, right, rewrite)
    assert ann.learnt == bob.learnt == []
    for end in (ann, bob):
        kinds = [pb.ControlFrame.FromString(each).WhichOneof("frame") for each in end.control]
        assert "presence" not in kinds


def test_a_wire_that_only_carries_changes_nothing() -> None:
    """Who passes on all bytes and has no key has no part in it: the session is between the two ends."""
    one, other = member(dial(), ANN), member(accept(), BOB)
    wire = converse(one, other)
    assert len(one.proven) == len(other.proven) == 1
    passed = b"".join(data for _, data in wire)
    for secret in (ANN.public, BOB.public, GROUP.public_key, GROUP.secret, GROUP.link_key, history(1, 0)[0]):
        assert bytes(secret) not in passed
    for end in (one, other):
        assert end.opened is not None
        assert end.opened.handshake_hash not in passed


def test_two_sessions_look_different() -> None:
    """But for the first byte, two meetings of the same members under other nonces share no 8 bytes."""
    seen = []
    for number in range(2):
        tag = advert_tag(bytes(32), bytes([number] * 8))
        accepting = accept(f"Bob {number}")
        accepting._secret_for_tag = {tag: SECRET}.get
        one, other = member(dial(f"Ann {number}", tag), ANN), member(accepting, BOB)
        seen.append(b"".join(data for _, data in converse(one, other)))
        assert one.proven
    windows = [{data[at : at + 8] for at in range(len(data) - 7)} for data in seen]
    assert windows[0] & windows[1] == set()


def test_a_stranger_with_the_link_shares_no_group() -> None:
    """A session that meets at a contact link's point opens, and proves no group."""
    point = contact_point(GROUP.public_key, bytes(32), 0)
    tag, secret = advert_tag(point, bytes(8)), session_secret(point)
    accepting = accept()
    accepting._secret_for_tag = {tag: secret}.get
    stranger, owner = End(dial("Eve", tag, secret)), member(accepting, ANN)
    converse(stranger, owner)
    assert stranger.opened is not None
    assert owner.opened is not None
    assert stranger.learnt == owner.learnt == []
    (said,) = stranger.control
    offer = pb.ControlFrame.FromString(said).offer
    assert len(offer.tags) == 16 * 16


def test_an_unknown_stream_ends_alone() -> None:
    """A type that a later version has is reset, and the group goes on."""
    one, other = member(dial(), ANN, 3), member(accept(), BOB)
    converse(one, other)
    number = one.session.open_stream("a later type")
    one.session.send(number, b"hello")
    converse(one, other)
    assert other.streams[-1] == StreamStarted(number, "a later type", b"")
    assert number not in one.session._streams
    other.logs[GROUP.id][LogKind.MESSAGES].add([make_block(50, 1)])
    assert isinstance(one.proven[0], GroupProven)
    assert one.session.state is other.session.state is SessionState.OPEN


def test_a_slow_link_gets_more_time_and_fewer_signs_of_life() -> None:
    """A radio of 1200 bit/s: half a minute more for a handshake, and few pings; so where an end waits for airtime."""
    slow, fast = Pace.of_link(1200, 0.5), Pace.of_link(1e9, 0.001)
    assert (slow.extra, fast.extra) == (pytest.approx(38.33, abs=0.01), pytest.approx(0.01, abs=0.001))
    assert (slow.keepalive, fast.keepalive) == (pytest.approx(73.33, abs=0.01), 30.0)
    waiting = Pace.of_link(1e9, 0.001, wait=3600.0)
    assert waiting.extra == pytest.approx(3600.01, abs=0.001) and waiting.keepalive == 3600.0
    one, other = dial("one"), accept("other")
    one.suit(slow)
    other.suit(slow)
    assert one.timeout() == HANDSHAKE_TIMEOUT + slow.extra
    open_pair(one, other)
    assert one.timeout() == slow.keepalive
