"""Members on a bus come to the same entries, whatever is lost, and say little when there is little to say."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berty_core.codec.cid import Cid
from berty_core.errors import RemoteProtocolError
from berty_core.protocol.ancestry import not_descended_from
from berty_core.protocol.compact_entries import short_id
from berty_core.protocol.group import LogKind
from berty_core.protocol.groupcast import answers as groupcast_answers
from berty_core.protocol.groupcast import machine as groupcast
from berty_core.protocol.groupcast import needs as groupcast_needs
from berty_core.protocol.groupcast.frames import (
    DigestFrame,
    EntryFrame,
    HeadsOf,
    HeldFrame,
    PartFrame,
    SinceFrame,
    UnheldFrame,
    WantFrame,
    encode_groupcast,
)
from berty_core.protocol.groupcast.machine import Agreed, ConfirmationAsked, Urgency

from .logs_in_memory import message
from .room_of_members import Member, MemberRoom

MESSAGES = LogKind.MESSAGES


def history(room: MemberRoom, member: Member, count: int) -> list[Cid]:
    """Messages that were written while nobody heard."""
    return [room.write(member, push=False) for _ in range(count)]


def share(source: Member, *targets: Member) -> None:
    """Give somebody all that another one has, by other ways than the bus."""
    for target in targets:
        for cid in source.logs[MESSAGES].cids():
            target.logs[MESSAGES].add(source.logs[MESSAGES].blocks[cid])


def test_a_text_is_one_datagram() -> None:
    """An own text goes out at once, in one datagram, and all others have it when it has arrived."""
    room = MemberRoom(3)
    room.write(room.members[0])
    cid = room.write(room.members[0])
    said = room.members[0].machine.take()
    assert [one.urgency for one in said] == [Urgency.INTERACTIVE] * 2
    assert [one.completes for one in said][1] == (MESSAGES, cid)
    assert all(len(one.frame) < 160 for one in said)
    for one in said:
        for member in room.members[1:]:
            room.hear(member, one.frame)
    assert room.agree()


def test_a_silent_group_is_nearly_silent() -> None:
    """Who agrees speaks ever more rarely, all together a few times in an interval."""
    room = MemberRoom(5)
    share(room.members[0], *room.members[1:])
    while room.now < 1000 + 24 * 3600:
        room.step()
    assert room.count(DigestFrame) == len(room.said) < 24 * 3 + 40
    late = [frame for _, said, frame in room.said[-20:]]
    assert all(isinstance(frame, DigestFrame) for frame in late)


def test_a_lost_text_is_noticed_and_asked_for() -> None:
    """The next digest names a head that is unknown, and one question brings the entry."""
    room = MemberRoom(3)
    room.write(room.members[0])
    room.members[0].machine.take()  # lost at everybody
    room.until(room.agree)
    assert room.count(SinceFrame) in (1, 2) and room.count(EntryFrame) in (1, 2)
    assert room.now < 1000 + 64


def test_a_parent_that_is_missing_is_asked_for() -> None:
    """An entry whose parents are not here waits for them, and is made once they are."""
    room = MemberRoom(2)
    ann, bob = room.members
    room.write(ann)
    ann.machine.take()
    room.write(ann)
    (second,) = ann.machine.take()
    room.hear(bob, second.frame)
    assert not bob.logs[MESSAGES].blocks
    room.until(room.agree)
    assert len(bob.logs[MESSAGES].blocks) == 2 and room.count(EntryFrame) == 1, "the second is not sent again"


def test_ancestors_of_what_stands_alone_are_asked_for() -> None:
    """An entry that needs no parents to be made waits for them in the log, and they are asked for."""
    room = MemberRoom(2)
    ann, bob = room.members
    room.write(ann)
    cid = room.write(ann)
    log = ann.logs[MESSAGES]
    data = log.compactor().shrink(log.blocks[cid], alone=True)
    room.hear(bob, encode_groupcast(EntryFrame(MESSAGES, short_id(cid), data)))
    assert not bob.logs[MESSAGES].blocks and bob.machine._needs.lacking


def test_an_entry_is_heard_once() -> None:
    """The same entry again, by whomever, is nothing new."""
    room = MemberRoom(2)
    ann, bob = room.members
    room.write(ann)
    (said,) = ann.machine.take()
    for _ in range(3):
        room.hear(bob, said.frame)
    assert len(bob.events) == 1


def test_pieces_are_asked_for() -> None:
    """Of an entry that came in part only the missing pieces are sent again."""
    room = MemberRoom(2)
    ann, bob = room.members
    room.write(ann, b"long " * 200)
    parts = ann.machine.take()
    assert len(parts) == 6
    for index in (0, 2, 3, 5):
        room.hear(bob, parts[index].frame)
    room.until(room.agree)
    again = [frame for _, _, frame in room.said if isinstance(frame, PartFrame)]
    assert [part.index for part in again] == [1, 4]
    assert room.count(WantFrame) == 1 and room.count(SinceFrame) == 0


def test_one_answers_for_all() -> None:
    """Who hears an answer does not give it too."""
    room = MemberRoom(8)
    history(room, room.members[0], 20)
    share(room.members[0], *room.members[1:7])
    room.until(room.agree)
    until = room.now + 300
    room.until(lambda: room.now > until)
    assert room.count(EntryFrame) < 2 * 20


def test_one_asks_for_all() -> None:
    """Of many who lack the same, few ask."""
    room = MemberRoom(8)
    history(room, room.members[0], 20)
    room.until(room.agree)
    assert room.count(SinceFrame) <= 4 and room.count(EntryFrame) == 20


def test_who_was_away_for_long_catches_up() -> None:
    """A thousand entries behind, the way there takes little more than a datagram for each."""
    room = MemberRoom(2, loss=0.1)
    ann, bob = room.members
    history(room, ann, 30)
    share(ann, bob)
    history(room, ann, 400)
    room.until(room.agree)
    assert room.count(EntryFrame) < 400 * 1.4
    assert len(room.said) < 400 * 1.6


def test_two_histories_grow_together() -> None:
    """After a division both sides hold both, and one question for what follows names a common past."""
    room = MemberRoom(2)
    ann, bob = room.members
    history(room, ann, 10)
    share(ann, bob)
    history(room, ann, 30)
    history(room, bob, 40)
    room.until(room.agree)
    assert len(ann.logs[MESSAGES].blocks) == 80
    assert room.count(EntryFrame) < 70 * 2


def test_many_heads() -> None:
    """A log with more heads than a digest names is compared and repaired too."""
    room = MemberRoom(3)
    first = room.write(room.members[0], push=False)
    log = room.members[0].logs[MESSAGES]

    for number in range(30):
        log.append(message(b"branch", number), parents=[first], time=2)
    room.until(room.agree)
    assert len(room.members[2].logs[MESSAGES].heads) == 30


@pytest.mark.parametrize("seed", range(200))
def test_any_schedule_converges(seed: int) -> None:
    """Loss, repetition, disorder, members that come and go, small and large texts: all end with the same."""
    chance = random.Random(seed)
    room = MemberRoom(
        chance.randint(2, 4),
        seed,
        loss=chance.choice([0, 0.1, 0.2, 0.4]),
        repeat=chance.choice([0, 0.2]),
        delay=chance.choice([0, 3]),
        room=chance.choice([100, 209, 209, 1200]),
    )
    for _ in range(chance.randint(1, 8)):
        member = chance.choice(room.members)
        match chance.randint(0, 5):
            case 0:
                member.on = not member.on
            case 1:
                member.machine = room.machine(member.logs)  # it starts again
            case 2:
                room.write(member, b"x" * chance.randint(0, 2000))
            case _:
                room.write(member)
        for _ in range(chance.randint(0, 10)):
            room.step()
    for member in room.members:
        member.on = True
        if chance.random() < 0.3:
            member.machine = room.machine(member.logs)
    room.until(room.agree)


def test_events_for_the_runtime() -> None:
    """Claims and questions are handed on, and agreement is told."""
    room = MemberRoom(2)
    ann = room.members[0].machine
    held = HeldFrame(b"abcd", (), bytes(64))
    assert ann.receive(UnheldFrame((b"abcdef",)), room.now) == [ConfirmationAsked((b"abcdef",))]
    (claimed,) = ann.receive(held, room.now)
    assert getattr(claimed, "claim") == held  # noqa: B009
    assert ann.receive(DigestFrame(HeadsOf(), HeadsOf()), room.now) == [Agreed()]


# -- hostile members ---------------------------------------------------------------------------


def test_a_question_costs_who_asks() -> None:
    """Asking without end brings no more than the pace allows, and no entry again while it is fresh."""
    room = MemberRoom(1)
    (ann,) = room.members
    history(room, ann, 300)
    start = room.now
    for _ in range(1000):
        room.hear(ann, encode_groupcast(SinceFrame(MESSAGES, (), ())))
        ann.machine.wake(room.now)
        room.now += 0.1
    sent = [said for said in ann.machine.take() if said.urgency is not Urgency.BACKGROUND]
    assert len(sent) <= (room.now - start) / groupcast_answers.PACE + 1
    assert len(ann.machine._answers._queue) <= groupcast_answers.MAX_ANSWERS


def test_long_walks_take_turns_with_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks from the beginning again and again, in tiny datagrams, does not keep a device busy with its history."""
    room = MemberRoom(1)
    member = room.members[0]
    cids = history(room, member, 400)
    walked: list[int] = []

    def walk(*asked: Any) -> list[Cid]:
        found = not_descended_from(*asked)
        walked.append(len(found))
        return found

    monkeypatch.setattr(groupcast, "not_descended_from", walk)
    question = SinceFrame(MESSAGES, (), (short_id(cids[0]),))
    for number in range(100):
        member.machine.receive(question, room.now + number * 0.001)
    assert sum(walked) <= 400 * 3
    member.machine.receive(question, room.now + 1)
    assert len(walked) == 4


def test_names_without_end_are_forgotten() -> None:
    """Heads that nobody has, orphans and pieces without end keep bounded memory and bring few questions."""
    room = MemberRoom(1)
    (ann,) = room.members
    chance = room.random
    for _ in range(3000):
        name = chance.randbytes(6)
        room.hear(ann, encode_groupcast(DigestFrame(HeadsOf(), HeadsOf((name,)))))
        room.hear(ann, encode_groupcast(PartFrame(MESSAGES, name, 0, 0, 255, b"x" * 190)))
        orphan = bytes((0b1011100,)) + b"\1" + chance.randbytes(6) + b"x" * 100
        room.hear(ann, encode_groupcast(EntryFrame(MESSAGES, chance.randbytes(6), orphan)))
        room.now += 0.01
        ann.machine.wake(room.now)
    assert not ann.logs[MESSAGES].blocks
    assert len(ann.machine._waiting) <= groupcast.MAX_WAITING
    assert sum(len(each.data) for each in ann.machine._waiting.values()) <= groupcast.MAX_WAITING_BYTES
    assert all(len(lacking) <= groupcast_needs.MAX_LACKING for lacking in ann.machine._needs._lacking.values())
    assert len(ann.machine._needs._wanted) <= groupcast_needs.MAX_WANTED
    assert len(ann.machine.take()) < 200


def test_a_name_that_nobody_has_is_asked_for_a_few_times() -> None:
    """Then it is forgotten until somebody names it again."""
    room = MemberRoom(1)
    (ann,) = room.members
    room.hear(ann, encode_groupcast(DigestFrame(HeadsOf(), HeadsOf((b"nobody",)))))
    while room.now < 1000 + 100_000:
        room.step()
    assert room.count(SinceFrame) == groupcast_needs.MAX_TRIES
    assert not ann.machine._needs._lacking[MESSAGES]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=120), max_size=5), st.randoms(use_true_random=False))
def test_any_frames(frames: list[bytes], chance: object) -> None:
    """Any bytes of a member give events, nothing, or RemoteProtocolError, and the machine goes on."""
    room = MemberRoom(2)
    ann, _ = room.members
    history(room, ann, 3)
    heads = [short_id(cid) for cid in ann.logs[MESSAGES].heads]
    for frame in frames:
        for data in (frame, *(bytes((kind,)) + head + frame for kind in (0x81, 0x82, 0x84, 0x85) for head in heads)):
            try:
                room.hear(ann, data)
            except RemoteProtocolError:
                continue
    room.until(room.agree)
