"""Group offers: what two sides learn of each other in any order of things, and what a liar or a listener learns."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.codec.pb import session_pb2 as pb
from berty_core.crypto.keys import PrivateKey, Secret
from berty_core.errors import RemoteProtocolError
from berty_core.ids import GroupId
from berty_core.protocol.group import Group, new_group
from berty_core.protocol.offers import (
    MAX_TAGS,
    PADDING,
    TAG_LENGTH,
    BeaconChanged,
    GroupOffers,
    GroupProven,
    GroupWithdrawn,
    Level,
    OfferEvent,
    group_tag,
    member_proof,
    presence_text,
)

from .conversation import Entropy

HASH = bytes(range(32))
GROUPS = [new_group(Entropy(f"group {number}"))[0] for number in range(3)]
ONE, TWO, THREE = GROUPS
ANN, BOB, EVE = (PrivateKey(bytes([number]) * 32) for number in (1, 2, 3))
DEVICES = (ANN, BOB)


def offers(side: int, hash_: bytes = HASH) -> GroupOffers:
    """One side's machine; side 0 is the initiator."""
    return GroupOffers(hash_, initiator=side == 0, entropy=Entropy(f"padding {side}"))


def carry(one: GroupOffers, other: GroupOffers) -> tuple[list[OfferEvent], list[OfferEvent]]:
    """Carry frames to and fro until both are silent; what each has learnt."""
    while any(said := (one.take(), other.take())):
        for frames, target in zip(said, (other, one), strict=True):
            for frame in frames:
                target.receive(frame)
    return one.events(), other.events()


def pair(first: list[Group], second: list[Group]) -> tuple[GroupOffers, GroupOffers]:
    """Two sides that show these groups."""
    sides = offers(0), offers(1)
    for machine, groups, device in zip(sides, (first, second), DEVICES, strict=True):
        machine.offer((group, device) for group in groups)
    return sides


def control(**fields: object) -> bytes:
    """A frame as a peer would write it."""
    return pb.ControlFrame(**fields).SerializeToString()  # type: ignore[arg-type]


def kinds(frames: list[bytes]) -> list[str]:
    """Which frames these are."""
    return [pb.ControlFrame.FromString(frame).WhichOneof("frame") or "" for frame in frames]


def tags_of(frame: bytes) -> list[bytes]:
    """The tags of an offer."""
    data = pb.ControlFrame.FromString(frame).offer.tags
    return [data[start : start + TAG_LENGTH] for start in range(0, len(data), TAG_LENGTH)]


# -- what two sides learn -----------------------------------------------------------------------------


def test_members_prove_and_name_themselves() -> None:
    """Each learns the other's device, in exactly the groups that both have."""
    one, other = pair([ONE, TWO], [TWO, THREE])
    assert carry(one, other) == (
        [GroupProven(TWO.id, Level.MEMBER, BOB.public)],
        [GroupProven(TWO.id, Level.MEMBER, ANN.public)],
    )
    assert one.group_of(other.own_tag(TWO.id)) == other.group_of(one.own_tag(TWO.id)) == TWO.id
    assert one.group_of(one.own_tag(TWO.id)) is None
    assert one.group_of(one.own_tag(ONE.id)) is None
    assert one.shown == {ONE.id, TWO.id}


@pytest.mark.parametrize("reduced", [(False, True), (True, False), (True, True)])
def test_replicas_prove_the_link_key_and_learn_no_device(reduced: tuple[bool, bool]) -> None:
    """Where one lacks the secret both hold the group at the lower level, and no device is named."""
    groups = [[ONE.reduced() if each else ONE] for each in reduced]
    one, other = pair(*groups)
    said: list[bytes] = []
    while frames := [*one.take(), *other.take()]:
        for frame in frames:
            said.append(frame)
            for machine in (one, other):
                machine.receive(frame)  # also to who said it: roles keep the two apart
    assert one.events() == other.events() == [GroupProven(ONE.id, Level.REPLICA, None)]
    assert "presence" not in kinds(said)
    assert not [frame for frame in said if bytes(ANN.public) in frame or bytes(BOB.public) in frame]


def test_offers_at_any_time() -> None:
    """A group that is joined later is offered later, by whoever is first; the other side's answer waits for it."""
    one, other = pair([ONE], [])
    assert carry(one, other) == ([], [])
    other.offer([(TWO, BOB)])
    assert carry(one, other) == ([], [])
    other.offer([(ONE, BOB), (TWO, BOB)])
    assert carry(one, other)[0] == [GroupProven(ONE.id, Level.MEMBER, BOB.public)]
    one.offer([(ONE, ANN), (TWO, ANN)])
    assert carry(one, other)[1] == [GroupProven(TWO.id, Level.MEMBER, ANN.public)]
    one.offer([(ONE, ANN), (TWO, ANN)])
    one.offer([])
    assert one.take() == []


def test_withdrawing_and_coming_back() -> None:
    """A withdrawn group is gone on both sides until it is offered again."""
    one, other = pair([ONE, TWO], [ONE, TWO])
    carry(one, other)
    tag = one.own_tag(ONE.id)
    one.withdraw(ONE.id)
    assert carry(one, other) == ([], [GroupWithdrawn(ONE.id)])
    assert other.group_of(tag) is None
    assert one.group_of(other.own_tag(ONE.id)) is None
    assert other.group_of(one.own_tag(TWO.id)) == TWO.id
    one.withdraw(ONE.id)
    assert one.take() == []
    one.offer([(ONE, ANN)])
    assert carry(one, other) == (
        [GroupProven(ONE.id, Level.MEMBER, BOB.public)],
        [GroupProven(ONE.id, Level.MEMBER, ANN.public)],
    )
    assert other.group_of(tag) == ONE.id


def test_who_comes_back_to_a_group_that_was_joined_meanwhile() -> None:
    """A tag that was withdrawn is forgotten: what is offered after it waits for a new one."""
    one, other = pair([ONE], [])
    carry(one, other)
    one.withdraw(ONE.id)
    carry(one, other)
    other.offer([(ONE, BOB)])
    assert kinds(other.take()) == ["offer"]
    one, other = pair([ONE], [])
    carry(one, other)
    one.withdraw(ONE.id)
    carry(one, other)
    other.offer([(ONE, BOB)])
    carry(one, other)
    one.offer([(ONE, ANN)])
    assert carry(one, other) == (
        [GroupProven(ONE.id, Level.MEMBER, BOB.public)],
        [GroupProven(ONE.id, Level.MEMBER, ANN.public)],
    )


def test_a_new_beacon() -> None:
    """The peer learns under which nonce we show ourselves from now on; more than 8 bytes are cut."""
    one, other = pair([], [])
    one.change_beacon(b"nonce 12 and more")
    assert carry(one, other) == ([], [BeaconChanged(b"nonce 12")])


STEPS = st.lists(
    st.tuples(st.sampled_from(["offer", "withdraw", "deliver", "deliver"]), st.integers(0, 1), st.integers(0, 2)),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.sets(st.tuples(st.integers(0, 1), st.integers(0, 2))))
def test_any_order_ends_with_what_both_show(steps: list[tuple[str, int, int]], replicas: set[tuple[int, int]]) -> None:
    """Offers, withdrawals and frames under way may cross in any way: at the end exactly what both show is proven."""
    machines, under_way = (offers(0), offers(1)), (deque[bytes](), deque[bytes]())
    last: dict[tuple[int, GroupId], OfferEvent] = {}

    def deliver(side: int) -> bool:
        """One frame from this side to the other."""
        under_way[side].extend(machines[side].take())
        if not under_way[side]:
            return False
        machines[1 - side].receive(under_way[side].popleft())
        for event in machines[1 - side].events():
            assert not isinstance(event, BeaconChanged)
            last[1 - side, event.group] = event
        return True

    for what, side, number in steps:
        group = GROUPS[number].reduced() if (side, number) in replicas else GROUPS[number]
        if what == "offer":
            machines[side].offer([(group, DEVICES[side])])
        elif what == "withdraw":
            machines[side].withdraw(group.id)
            last.pop((side, group.id), None)
            under_way[side].extend(machines[side].take())
        else:
            deliver(side)
    while deliver(0) | deliver(1):
        pass
    for number, group in enumerate(GROUPS):
        both = all(group.id in machine.shown for machine in machines)
        members = not {(0, number), (1, number)} & replicas
        for side, machine in enumerate(machines):
            tag = group_tag(group, HASH, side != 0)
            assert machine.group_of(tag) == (group.id if both else None)
            if group.id in machine.shown:
                event = last.get((side, group.id))
                assert isinstance(event, GroupProven) == both
                if isinstance(event, GroupProven):
                    assert event.level == (Level.MEMBER if members else Level.REPLICA)
                    assert event.device == (DEVICES[1 - side].public if members else None)


# -- what is shown ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 40])
def test_padding(count: int) -> None:
    """Tags come in multiples of 16, in order, so that neither number nor place tells which are real."""
    groups = [new_group(Entropy(f"{number}"))[0] for number in range(count)]
    machine = offers(0)
    machine.offer((group, ANN) for group in groups)
    frames = machine.take()
    assert len(frames) == (1 if count else 0)
    for frame in frames:
        tags = tags_of(frame)
        assert len(tags) == -(-count // PADDING) * PADDING
        assert tags == sorted(tags)
        assert {machine.own_tag(group.id) for group in groups} <= set(tags)


def test_more_groups_than_a_session_can_show() -> None:
    """What does not fit into the 4,096 tags that a peer takes is left out, and the session goes on."""
    many = [Group(GroupId(n.to_bytes(32, "big")), Secret(n.to_bytes(32, "big")), ONE.kind) for n in range(MAX_TAGS + 9)]
    one, other = offers(0), offers(1)
    one.offer((group, ANN) for group in many[:5])
    one.offer((group, ANN) for group in many)
    one.offer((group, ANN) for group in many)
    other.offer([(many[MAX_TAGS - 20], BOB), (many[-1], BOB)])
    assert carry(one, other)[1] == [GroupProven(many[MAX_TAGS - 20].id, Level.MEMBER, ANN.public)]
    assert len(one.shown) == MAX_TAGS - 11
    assert len(other._peer_tags) == MAX_TAGS


def test_tags_tell_nothing_across_sessions_and_roles() -> None:
    """The same group shows another tag in each session and role, and its proof and presence differ as well."""
    tags = {group_tag(ONE, hash_, role) for hash_ in (HASH, bytes(32)) for role in (True, False)}
    macs = {member_proof(ONE, hash_, role) for hash_ in (HASH, bytes(32)) for role in (True, False)}
    texts = {presence_text(ONE, hash_, role) for hash_ in (HASH, bytes(32)) for role in (True, False)}
    assert len(tags) == len(macs) == len(texts) == 4
    assert member_proof(ONE, HASH, True) != member_proof(TWO, HASH, True)


def test_our_own_frames_sent_back() -> None:
    """Reflection teaches nothing: our own tags, proofs and presences are not those of a peer."""
    one, other = pair([ONE, TWO], [ONE, TWO])
    said: list[bytes] = []
    while frames := one.take():
        said += frames
        for frame in frames:
            other.receive(frame)
        for frame in other.take():
            one.receive(frame)
    one.events()
    alone = offers(0)
    alone.offer([(ONE, ANN), (TWO, ANN)])
    alone.take()
    assert {"offer", "proof", "presence"} <= set(kinds(said))
    for frame in said:
        alone.receive(frame)
    assert alone.take() == []
    assert alone.events() == []


def test_frames_of_another_session() -> None:
    """What was recorded in one session fits nowhere in another."""
    one, other = pair([ONE], [ONE])
    said: list[bytes] = []
    while frames := one.take():
        said += frames
        for frame in frames:
            other.receive(frame)
        for frame in other.take():
            one.receive(frame)
    later = offers(1, bytes(32))
    later.offer([(ONE, BOB)])
    later.take()
    for frame in said:
        later.receive(frame)
    assert later.take() == []
    assert later.events() == []


# -- a peer without manners ----------------------------------------------------------------------------


def victim() -> GroupOffers:
    """A responder that shows two groups and has said so."""
    machine = offers(1)
    machine.offer([(ONE, BOB), (TWO, BOB)])
    machine.take()
    return machine


TAG = group_tag(ONE, HASH, True)
PROOF = member_proof(ONE, HASH, True)
SIGNED = ANN.sign(presence_text(ONE, HASH, True))


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        control(offer=pb.Offer(tags=bytes(16))),
        control(offer=pb.Offer(tags=bytes(16 * 16 + 1))),
        control(offer=pb.Offer(tags=bytes(16 * 15))),
        control(offer=pb.Offer(tags=bytes(16 * (MAX_TAGS + 16)))),
        control(proof=pb.Proof(tag=TAG, mac=PROOF[:-1])),
        control(proof=pb.Proof(tag=TAG, mac=PROOF + b"\0")),
        control(proof=pb.Proof(tag=TAG, mac=member_proof(ONE, HASH, False))),
        control(proof=pb.Proof(tag=TAG, mac=member_proof(TWO, HASH, True))),
    ],
    ids=["bytes", "one tag", "a cut tag", "no padding", "too many", "short", "long", "reflected", "another group"],
)
def test_frames_that_break_the_rules(data: bytes) -> None:
    """Each ends the session, and proves nothing."""
    machine = victim()
    with pytest.raises(RemoteProtocolError):
        machine.receive(data)
    assert machine.events() == []
    assert machine.take() == []


def test_a_long_frame_is_refused() -> None:
    """The limit on a frame holds before it is read."""
    with pytest.raises(RemoteProtocolError, match="the limit is"):
        victim().receive(control(beacon=pb.BeaconChange(nonce=bytes(100_000))))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xa2\x01\x03new",
        control(offer=pb.Offer()),
        control(proof=pb.Proof(tag=b"unknown", mac=PROOF)),
        control(proof=pb.Proof(tag=group_tag(ONE, HASH, False), mac=PROOF)),
        control(proof=pb.Proof(tag=group_tag(THREE, HASH, True), mac=member_proof(THREE, HASH, True))),
        control(presence=pb.Presence(tag=TAG, device=ANN.public, signature=SIGNED)),
        control(withdrawal=pb.Withdrawal(tag=b"unknown")),
    ],
    ids=["nothing", "a later frame", "no tags", "unknown", "our tag", "a group we lack", "too early", "withdrawal"],
)
def test_frames_that_mean_nothing(data: bytes) -> None:
    """Each is skipped: no answer, no event."""
    machine = victim()
    machine.receive(data)
    assert machine.take() == []
    assert machine.events() == []


@pytest.mark.parametrize(
    ("device", "signature"),
    [
        (EVE.public, SIGNED),
        (ANN.public, SIGNED[:-1]),
        (ANN.public, SIGNED[:-1] + bytes([SIGNED[-1] ^ 1])),
        (ANN.public, b""),
        (ANN.public[:-1], SIGNED),
        (b"", b""),
        (ANN.public, ANN.sign(presence_text(ONE, HASH, False))),
        (ANN.public, ANN.sign(presence_text(TWO, HASH, True))),
        (ANN.public, ANN.sign(presence_text(ONE, bytes(32), True))),
        (BOB.public, BOB.sign(presence_text(ONE, HASH, True))),
    ],
    ids=[
        "not hers",
        "short",
        "changed",
        "none",
        "short key",
        "nothing",
        "reflected",
        "other group",
        "replayed",
        "ours",
    ],
)
def test_false_presences(device: bytes, signature: bytes) -> None:
    """After a true proof the device must sign for this session, role and group; and it is not our own."""
    machine = victim()
    machine.receive(control(proof=pb.Proof(tag=TAG, mac=PROOF)))
    with pytest.raises(RemoteProtocolError):
        machine.receive(control(presence=pb.Presence(tag=TAG, device=device, signature=signature)))
    assert machine.events() == []
    assert machine.group_of(TAG) is None


def test_what_is_said_to_whom() -> None:
    """The link key earns a proof, which names nobody; only a true proof earns the name of our device."""
    machine = victim()
    machine.receive(control(offer=pb.Offer(tags=TAG + bytes(16 * 15))))
    first = machine.take()
    assert kinds(first) == ["proof"]
    assert bytes(BOB.public) not in first[0]
    machine.receive(control(proof=pb.Proof(tag=TAG, mac=PROOF)))
    (second,) = machine.take()
    assert pb.ControlFrame.FromString(second).presence.device == BOB.public
    assert machine.events() == []
    machine.receive(control(presence=pb.Presence(tag=TAG, device=ANN.public, signature=SIGNED)))
    assert machine.events() == [GroupProven(ONE.id, Level.MEMBER, ANN.public)]


def test_saying_it_again_changes_nothing() -> None:
    """Tags, proofs and presences that come again are not answered again, and prove nothing more."""
    machine = victim()
    frames = [
        control(offer=pb.Offer(tags=TAG + bytes(16 * 15))),
        control(proof=pb.Proof(tag=TAG, mac=PROOF)),
        control(presence=pb.Presence(tag=TAG, device=ANN.public, signature=SIGNED)),
    ]
    for frame in frames:
        machine.receive(frame)
    assert len(machine.take()) == 2
    assert len(machine.events()) == 1
    for frame in frames:
        machine.receive(frame)
    assert machine.take() == []
    assert machine.events() == []


def test_floods_of_tags_end_the_session() -> None:
    """A peer may show 4,096 tags in one session; what it shows above that is refused before it is kept."""
    machine, fill = victim(), Entropy("flood")
    for _ in range(MAX_TAGS // 256):
        machine.receive(control(offer=pb.Offer(tags=fill(TAG_LENGTH * 256))))
    with pytest.raises(RemoteProtocolError, match="too many tags"):
        machine.receive(control(offer=pb.Offer(tags=fill(TAG_LENGTH * 16))))
    assert len(machine._peer_tags) == MAX_TAGS


def test_coming_and_going_is_answered_no_more_than_it_is_said() -> None:
    """A peer that offers and withdraws without end makes us say one frame for each of its own, and keep nothing."""
    machine = victim()
    for _ in range(200):
        machine.receive(control(offer=pb.Offer(tags=TAG + bytes(16 * 15))))
        machine.receive(control(proof=pb.Proof(tag=TAG, mac=PROOF)))
        machine.receive(control(withdrawal=pb.Withdrawal(tag=TAG)))
        assert len(machine.take()) == 2
        assert machine.events() == [GroupWithdrawn(ONE.id)]
    assert len(machine._peer_tags) <= 16


TAGS = st.sampled_from([TAG, group_tag(TWO, HASH, True), group_tag(ONE, HASH, False), bytes(16), b"", b"\xff" * 40])
MACS = st.sampled_from([b"", PROOF, member_proof(TWO, HASH, True), bytes(32)])
DEVICE = st.sampled_from([bytes(ANN.public), bytes(BOB.public), b"", bytes(32)])
FRAMES = st.one_of(
    st.builds(lambda tags: control(offer=pb.Offer(tags=b"".join(tags))), st.lists(TAGS, min_size=14, max_size=18)),
    st.builds(lambda tag: control(offer=pb.Offer(tags=tag.ljust(256, b"\1")[:256])), TAGS),
    st.builds(lambda tag, mac: control(proof=pb.Proof(tag=tag, mac=mac)), TAGS, MACS),
    st.builds(
        lambda tag, device, signature: control(presence=pb.Presence(tag=tag, device=device, signature=signature)),
        TAGS,
        DEVICE,
        st.sampled_from([SIGNED, b"", bytes(64)]),
    ),
    st.builds(lambda tag: control(withdrawal=pb.Withdrawal(tag=tag)), TAGS),
    st.builds(lambda nonce: control(beacon=pb.BeaconChange(nonce=nonce)), st.binary(max_size=20)),
    st.binary(max_size=60),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAMES, max_size=12))
def test_any_frames_give_events_or_a_remote_error(frames: list[bytes]) -> None:
    """Whatever comes: events, or RemoteProtocolError; and a member is only who has proven the secret."""
    machine = victim()
    for frame in frames:
        try:
            machine.receive(frame)
        except RemoteProtocolError:
            break
        for event in machine.events():
            assert isinstance(event, GroupProven | GroupWithdrawn | BeaconChanged)
            if isinstance(event, GroupProven) and event.level is Level.MEMBER:
                assert (event.group, event.device) == (ONE.id, ANN.public)
    assert len(machine.take()) <= 2 * len(frames)
