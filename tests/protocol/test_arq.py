"""A reliable stream gives exactly what was sent, whatever the medium does, and stays quiet and small."""

from __future__ import annotations

import random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.protocol.arq.stream import MAX_CANDIDATES, Phase, ReliableStream
from berty_core.protocol.arq.tuning import Tuning
from berty_core.protocol.arq.wire import (
    Abort,
    Accept,
    Ack,
    Acknowledgement,
    Data,
    Kind,
    Message,
    Open,
    Piece,
    decode,
    encode,
    near,
)

from .lossy import End, Fate, Lab, chance

RADIO = {"bitrate": 1200.0, "latency": 0.1, "half_duplex": True, "ordered": True}
MTUS = (20, 21, 64, 233, 1472, 65507)


def sound(_: bytes) -> list[float]:
    """A medium without faults."""
    return [0.01]


def tuning(mtu: int = 233, **traits: float) -> Tuning:
    """For a fast medium of small datagrams, if nothing else is said."""
    return Tuning.for_medium(**({"mtu": mtu, "bitrate": 1e6, "latency": 0.01} | traits))  # type: ignore[arg-type]


def machine(initiator: bool = True, *, seed: int = 0, tuned: Tuning | None = None) -> ReliableStream:
    """One end, with names made from a seed."""
    entropy = random.Random(2 * seed + initiator).randbytes
    return ReliableStream(initiator=initiator, tuning=tuned or tuning(), entropy=entropy, now=0.0)


def lab(one: bytes, other: bytes = b"", fates: tuple[Fate, Fate] = (sound, sound), tuned: Tuning | None = None) -> Lab:
    """Two ends with something to say."""
    return Lab(End(machine(True, tuned=tuned), fates[0], one), End(machine(False, tuned=tuned), fates[1], other))


def both_done(case: Lab) -> None:
    """Let two ends talk until each knows that all arrived."""
    case.run(lambda: all(end.machine.is_done and end.machine.has_ended for end in case.ends))  # type: ignore[attr-defined]


def opened() -> tuple[ReliableStream, ReliableStream]:
    """Two ends that know each other and have nothing to say."""
    one, other = machine(True), machine(False)
    for _ in range(4):
        pass_all(one, other, 0.0)
    assert (one.phase, other.phase) == (Phase.OPEN, Phase.OPEN)
    return one, other


def pass_all(one: ReliableStream, other: ReliableStream, now: float) -> int:
    """Carry what both have to say now; how many datagrams."""
    count = 0
    for sender, receiver in ((one, other), (other, one)):
        while (datagram := sender.take(now)) is not None:
            receiver.receive(datagram, now)
            count += 1
    return count


def said_by(end: End) -> list[Message]:
    """What an end sent, read."""
    found = [decode(datagram) for datagram in end.sent]
    assert None not in found
    return [message for message in found if message is not None]


@st.composite
def media(draw: st.DrawFn) -> tuple[Fate, Fate]:
    """Any schedule of faults that lets at least one datagram in four through at last."""
    seed = draw(st.integers(0, 2**32))
    faults = {
        "loss": draw(st.sampled_from([0.0, 0.1, 0.3, 0.5])),
        "duplication": draw(st.sampled_from([0.0, 0.1, 0.9])),
        "reorder": draw(st.sampled_from([0.0, 0.2, 0.9])),
        "delay": draw(st.sampled_from([0.0, 0.01, 0.5])),
        "spread": draw(st.sampled_from([0.001, 0.05, 3.0])),
    }
    return chance(seed, **faults), chance(seed + 1, **faults)


@settings(deadline=None, max_examples=100)
@given(media(), st.sampled_from(MTUS), st.booleans(), st.integers(0, 3000), st.integers(0, 3000))
def test_the_same_bytes_arrive_whatever_the_medium_does(
    fates: tuple[Fate, Fate], mtu: int, radio: bool, one: int, other: int
) -> None:
    """Loss, repetition, reordering and delay change nothing of the bytes, nor of the good end, either way."""
    contents = random.Random(one).randbytes(one), random.Random(other).randbytes(other)
    traits = RADIO if radio else {}
    case = lab(*contents, fates, attrs.evolve(tuning(mtu, **traits), give_up=1e5))
    both_done(case)
    assert (case.ends[1].received, case.ends[0].received) == contents
    assert all(len(datagram) <= mtu for end in case.ends for datagram in end.sent)


def test_ten_thousand_datagrams_at_thirty_percent_loss() -> None:
    """A long stream over a bad medium is exact, and little more is repeated than was lost."""
    content = random.Random(7).randbytes(10_000 * 227)
    case = lab(content, b"", (chance(1, loss=0.3, reorder=0.1, delay=0.005), chance(2, loss=0.3)))
    both_done(case)
    assert case.ends[1].received == content
    pieces = [message for message in said_by(case.ends[0]) if isinstance(message, Data)]
    assert 10_000 / 0.7 * 0.97 < len(pieces) < 10_000 / 0.7 * 1.2


@given(st.lists(st.tuples(st.binary(max_size=300), st.floats(0, 2)), max_size=60), st.sampled_from([0, 1, 2, 3]))
@settings(deadline=None)
def test_any_bytes_are_a_value_or_nothing(datagrams: list[tuple[bytes, float]], which: int) -> None:
    """Whatever comes changes nothing, except that a peer of another kind is refused while nobody is known."""
    ends = [machine(True), machine(False), *opened()]
    end = ends[which]
    for datagram, now in datagrams:
        try:
            end.receive(datagram, now)
        except RemoteProtocolError:
            assert end.phase is not Phase.OPEN
        end.take(now)
    assert end.phase is not Phase.LOST
    assert end.read(2.0) == b""


NAMES = st.binary(min_size=3, max_size=3)
ACKS = st.builds(Ack, st.integers(0, 65535), st.integers(0, 255), st.binary(max_size=32))
MESSAGES = st.one_of(
    st.builds(Open, NAMES, st.integers(20, 65535), st.integers(0, 255), st.integers(0, 15)),
    st.builds(Accept, NAMES, NAMES, st.integers(20, 65535), st.integers(0, 255)),
    st.builds(
        Data, NAMES, st.integers(0, 65535), st.binary(min_size=1), st.booleans(), st.none() | ACKS, st.booleans()
    ),
    st.builds(Acknowledgement, NAMES, ACKS, st.booleans()),
    st.builds(Abort, NAMES, NAMES),
)


@given(MESSAGES)
def test_what_is_written_is_read(message: Open | Accept | Data | Acknowledgement | Abort) -> None:
    """Each kind of datagram comes back as it was."""
    assert decode(encode(message)) == message


@given(st.binary(max_size=80))
def test_reading_never_fails(datagram: bytes) -> None:
    """Bytes are a message, and then the only way to write it, or nothing."""
    message = decode(datagram)
    if message is not None and not isinstance(message, Piece):
        assert encode(message) == datagram


@settings(deadline=None)
@given(st.lists(MESSAGES, max_size=80), st.booleans())
def test_a_peer_that_breaks_all_rules_gains_nothing(messages: list[Message], initiator: bool) -> None:
    """Datagrams under the right name that mean no good are bounded in memory, and never more than a stream of bytes."""
    one, other = opened()
    end = one if initiator else other
    for step, message in enumerate(messages):
        if isinstance(message, Data | Acknowledgement):
            message = type(message)(*[end._name, *[getattr(message, name) for name in message.__slots__[1:-1]]])  # noqa: PLW2901
        end.receive(encode(message), float(step))  # type: ignore[arg-type]
        assert len(end._receiving._early) + len(end._receiving._ready) <= end._tuning.receive_window
        end.take(float(step))


def test_a_flood_is_bounded_by_the_window() -> None:
    """Neither with a hole before it nor in order is more held than was allowed."""
    for first in (1, 0):
        one, other = opened()
        for number in range(first, 2000):
            other.receive(encode(Data(other._name, number, bytes(200))), 1.0)
        held = len(other._receiving._early) + len(other._receiving._ready)
        assert 250 <= held <= 255
        assert one.phase is Phase.OPEN


def test_an_acknowledgement_of_what_was_never_sent_is_ignored() -> None:
    """It does not count as news of the other end either."""
    one, other = opened()
    one.push(b"hello", 0.0)
    assert one.take(0.0) is not None
    for ack in (Ack(2, 255), Ack(0, 255, b"\x01"), Ack(0xFFFF, 255, b"\x08")):
        one.receive(encode(Acknowledgement(one._name, ack)), 0.1)
        assert one.sending.is_waiting
    one.receive(encode(Acknowledgement(one._name, Ack(1, 255))), 0.1)
    assert not one.sending.is_waiting
    assert other.phase is Phase.OPEN


def test_a_datagram_costs_six_bytes() -> None:
    """The header of data is six bytes, of data with an acknowledgement nine, at any mtu."""
    assert len(encode(Data(b"abc", 7, b"x"))) == 7
    assert len(encode(Data(b"abc", 7, b"x", ack=Ack(3, 200)))) == 10
    case = lab(bytes(227 * 20))
    both_done(case)
    assert [len(m) for m in case.ends[0].sent].count(233) == 20


def test_an_exchange_takes_acknowledgements_along() -> None:
    """A question and its answer are two datagrams of data; what acknowledges the last of them goes alone."""
    one, other = opened()
    one.push(b"how are you", 1.0)
    question = one.take(1.0)
    assert question is not None and one.take(1.0) is None
    other.receive(question, 1.1)
    assert other.take(1.1) is None  # not yet: an answer may come
    other.push(b"well", 1.105)
    answer = decode(other.take(1.105) or b"")
    assert isinstance(answer, Data) and answer.ack is not None and answer.ack.next == 1
    other_due = other.timeout()
    assert other_due is not None and other_due > 1.105


def test_a_wrong_name_changes_nothing() -> None:
    """Datagrams of an earlier stream, or of who guesses, do not disturb one that is open."""
    old_one, old_other = machine(True, seed=5), machine(False, seed=5)
    old_one.push(bytes(1000), 0.0)
    stale: list[bytes] = []
    for _ in range(4):
        for sender, receiver in ((old_one, old_other), (old_other, old_one)):
            while (datagram := sender.take(0.0)) is not None:
                stale.append(datagram)
                receiver.receive(datagram, 0.0)
    assert any(isinstance(decode(datagram), Data) for datagram in stale)
    case = lab(bytes(5000), bytes(5000))

    def mixed(datagram: bytes) -> list[float]:
        old = stale.pop(0)  # an answer to one of them may cause another call
        stale.append(old)
        if not isinstance(decode(datagram), Accept):
            for end in case.ends:
                end.machine.receive(old, case.now)
        return [0.01]

    for end in case.ends:
        end.fate = mixed
    both_done(case)
    assert case.ends[0].received == case.ends[1].received == bytes(5000)


def test_a_stale_opening_does_not_take_the_place_of_the_true_one() -> None:
    """Each who asks gets a name of its own; the one that uses it is meant. No more than a few are remembered."""
    one, other = machine(True), machine(False)
    opening = one.take(0.0)
    assert opening is not None
    for number in range(MAX_CANDIDATES - 1):
        other.receive(encode(Open(bytes([number] * 3), 233, 255)), 0.0)
        other.receive(opening, 0.0)
    assert len(other._candidates) == MAX_CANDIDATES
    for _ in range(3):
        pass_all(other, one, 0.1)
    assert (one.phase, other.phase) == (Phase.OPEN, Phase.OPEN)
    other.push(b"this is for you", 0.1)
    pass_all(other, one, 0.1)
    assert one.read(0.1) == b"this is for you"
    flooded = machine(False)
    for number in range(50):
        flooded.receive(encode(Open(bytes([number] * 3), 233, 255)), 0.0)
    assert len(flooded._candidates) == MAX_CANDIDATES
    assert sum(flooded.take(0.2) is not None for _ in range(50)) == MAX_CANDIDATES


def test_a_peer_that_began_again_is_found_out() -> None:
    """An opening on an open stream is answered by a question to the one that is known, and at most one in a while."""
    one, other = opened()
    for _ in range(10):
        other.receive(encode(Open(b"new", 233, 255)), 10.0)
    question = other.take(10.0)
    assert isinstance(decode(question or b""), Acknowledgement) and other.take(10.0) is None
    one.receive(question or b"", 10.0)
    pass_all(one, other, 10.0)
    assert other.timeout() is None  # answered: all is well
    other.receive(encode(Open(b"new", 233, 255)), 20.0)
    now = 20.0
    while other.phase is Phase.OPEN:
        other.take(now)
        now = other.timeout() or now
        assert now < 20 + 30 / 5 + 1
        other.wake(now)
    assert "did not answer" in other.reason


def test_a_reader_that_does_not_read_stops_the_writer() -> None:
    """The window bounds what is held; when the reader goes on, so does the stream, though the news of it was lost."""
    case = lab(bytes(500_000))
    reader = case.ends[1]
    reader.reads = False
    case.run(lambda: case.now > 20)
    held = sum(map(len, reader.machine._receiving._ready))  # type: ignore[attr-defined]
    assert held <= 255 * 233
    sent = len(case.ends[0].sent)
    case.run(lambda: case.now > 60)
    assert len(case.ends[0].sent) - sent < 80  # questions, ever more slowly; no data
    lost: list[bytes] = []

    def lose_three(datagram: bytes) -> list[float]:
        lost.append(datagram)
        return [] if len(lost) <= 3 else [0.01]

    reader.fate = lose_three
    reader.reads = True
    both_done(case)
    assert reader.received == bytes(500_000)


def test_silence_ends_a_stream_that_waits_for_an_answer_and_no_other() -> None:
    """Without anything to say a stream lives for ever; with something, it is given up in a while."""
    one, _ = opened()
    assert one.timeout() is None
    one.wake(1e6)
    assert one.phase is Phase.OPEN
    one.push(b"anybody?", 1e6)
    now = 1e6
    while not one.is_lost:
        while one.take(now) is not None:
            pass
        now = max(now, one.timeout() or now)
        one.wake(now)
    assert 30 <= now - 1e6 <= 40
    assert one.reason == "the other end did not answer for 30 s"
    assert one.push(b"x", now) == 0 and one.take(now) is None and one.timeout() is None


def test_an_opening_that_nobody_answers_ends() -> None:
    """The time for that depends on the medium."""
    one = machine(True)
    now, sent = 0.0, 0
    while not one.is_lost:
        sent += one.take(now) is not None
        now = max(now, one.timeout() or now)
        one.wake(now)
    assert now == 30.0 and 10 < sent < 50


def test_who_may_wait_for_airtime_is_not_given_up() -> None:
    """An hour of silence is borne where the other end may have to wait so long, and few datagrams ask meanwhile."""
    one = machine(True, tuned=tuning(wait=3600.0))
    now, sent = 0.0, 0
    while not one.is_lost:
        sent += one.take(now) is not None
        now = max(now, one.timeout() or now)
        one.wake(now)
    assert now == 3630.0 and sent < 200


def test_giving_up_tells_the_other_end() -> None:
    """An abort names both ends; a guess at one of them is nothing."""
    one, other = opened()
    other.receive(encode(Abort(other._name, b"???")), 0.0)
    other.receive(encode(Abort(b"???", one._name)), 0.0)
    assert other.phase is Phase.OPEN
    one.abort()
    pass_all(one, other, 0.0)
    assert (one.is_lost, other.is_lost) == (True, True)
    assert other.reason == "the other end gave up"
    assert one.take(0.0) is None


def test_other_kinds_of_peers_are_refused_before_the_stream_is_open() -> None:
    """One that takes the link for a reliable one, or speaks another version; later, the same bytes mean nothing."""
    wrong = (bytes([Kind.PIECE << 4 | 1]) + b"x", encode(Open(b"new", 233, 255, 2)))
    for datagram in wrong:
        with pytest.raises(RemoteProtocolError):
            machine(False).receive(datagram, 0.0)
        one, _ = opened()
        one.receive(datagram, 0.0)
        assert one.phase is Phase.OPEN
    with pytest.raises(LocalProtocolError):
        machine(tuned=tuning(19))


def test_the_smaller_mtu_counts() -> None:
    """Each end sends no more at once than the other takes."""
    ends = [End(machine(True, tuned=tuning(1472)), sound, bytes(5000)), End(machine(False), sound, bytes(5000))]
    case = Lab(*ends)
    both_done(case)
    assert max(len(datagram) for end in ends for datagram in end.sent) == 233


def test_a_loss_is_repaired_before_the_time_is_up() -> None:
    """What later datagrams overtake is sent again within little more than a round trip."""
    count = 0

    def lose_the_fifth(datagram: bytes) -> list[float]:
        nonlocal count
        count += isinstance(decode(datagram), Data)
        return [] if count == 5 and isinstance(decode(datagram), Data) else [0.01]

    case = lab(bytes(227 * 30), b"", (lose_the_fifth, sound))
    case.run(lambda: case.ends[0].machine.is_done)  # type: ignore[attr-defined]
    assert case.ends[0].machine.sending.repeated == 1  # type: ignore[attr-defined]
    assert case.now < 0.25


def test_on_a_half_duplex_medium_an_end_listens_while_the_other_talks() -> None:
    """One acknowledgement for each burst."""
    slow = tuning(233, **RADIO)
    ends = [
        End(machine(True, tuned=slow), sound, bytes(227 * 20), airtime=8 / 1200),
        End(machine(False, tuned=slow), sound, airtime=8 / 1200),
    ]
    case = Lab(*ends)
    case.run(lambda: ends[0].machine.is_done)  # type: ignore[attr-defined]
    assert ends[0].machine.sending.repeated == 0  # type: ignore[attr-defined]
    assert len(ends[1].sent) <= 2 + 21 / 3


@given(st.integers(0, 2**40), st.integers(-0x8000, 0x7FFF))
def test_numbers_are_told_by_their_lower_half(known: int, offset: int) -> None:
    """A number within half of their range is found again."""
    assert near((known + offset) & 0xFFFF, known) == known + offset


def test_numbers_go_round() -> None:
    """A stream of more than 2^16 datagrams stays exact."""
    one, other = opened()
    one.sending._next = one.sending._known = other._receiving._next = 65500
    one.sending._edge = other._receiving._edge = 65755
    content = random.Random(3).randbytes(50_000)
    bad = chance(1, loss=0.3), chance(2, loss=0.3)
    case = Lab(End(one, bad[0], content), End(other, bad[1]))
    both_done(case)
    assert case.ends[1].received == content
    assert {message.number for message in said_by(case.ends[0]) if isinstance(message, Data)} > {65535, 0}
