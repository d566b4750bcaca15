"""The order of transports: total, the same however candidates come, and able to say why."""

from __future__ import annotations

import itertools
import random

import attrs
from hypothesis import given
from hypothesis import strategies as st

from berty_core.protocol.ranking import (
    Candidate,
    Medium,
    Policy,
    Situation,
    grade,
    is_worth_a_change,
    pauses,
    rank,
    why_better,
)

NAMES = ("lan", "radio", "cellular", "cable")
TRI = st.sampled_from(("yes", "no", "unknown"))
MEDIA = st.builds(
    Medium,
    bitrate=st.sampled_from((300, 250_000, 50_000_000)),
    latency=st.sampled_from((0.005, 0.5, 10.0)),
    energy=st.integers(1, 3),
    metered=st.booleans(),
    infrastructure=st.booleans(),
    budgeted=st.booleans(),
)
POLICIES = st.builds(
    Policy,
    metered=st.sampled_from(("use", "avoid", "never")),
    when=st.sampled_from(("always", "foreground", "charging")),
    min_battery=st.sampled_from((-1.0, 0.0, 0.5)),
)
CANDIDATES = st.builds(
    Candidate,
    transport=st.sampled_from(NAMES),
    address=st.sampled_from(("1", "2")),
    medium=MEDIA,
    policy=POLICIES,
    stopped=st.sampled_from(("", "it failed: no adapter")),
    spent=st.sampled_from(((), ("1000 bytes a day",))),
    failures=st.integers(0, 3),
    not_before=st.sampled_from((0.0, 150.0)),
)
SITUATIONS = st.builds(
    Situation,
    online=TRI,
    metered=TRI,
    charging=TRI,
    battery=st.sampled_from((None, 0.1, 0.9)),
    foreground=st.booleans(),
)
PREFER = st.lists(st.sampled_from(NAMES), unique=True)
LAN = Candidate(transport="lan", address="1", medium=Medium(bitrate=50_000_000, latency=0.005, energy=2))
RADIO = Candidate(transport="radio", address="2", medium=Medium(bitrate=300, latency=1.0, energy=2, budgeted=True))


def unique(candidates: list[Candidate]) -> list[Candidate]:
    """One candidate for each endpoint."""
    return list({(one.transport, one.address): one for one in candidates}.values())


@given(st.lists(CANDIDATES), PREFER, SITUATIONS, st.integers())
def test_each_is_ranked_or_refused_with_reasons(
    found: list[Candidate], prefer: list[str], situation: Situation, seed: int
) -> None:
    """Nothing is left out, nothing stands there without a reason, and the order of arrival decides nothing."""
    candidates = unique(found)
    ranking = rank(candidates, prefer, situation, 100.0)
    told = [one.candidate for one in ranking.order] + [one.candidate for one in ranking.refused]
    assert len(told) == len(candidates)
    assert set(told) == set(candidates)
    reasons = [one.reasons for one in ranking.order] + [one.reasons for one in ranking.refused]
    assert all(each and all(each) for each in reasons)
    random.Random(seed).shuffle(candidates)
    assert rank(candidates, prefer, situation, 100.0) == ranking


@given(st.lists(CANDIDATES, min_size=2), PREFER, SITUATIONS)
def test_prefer_then_cost_then_speed(found: list[Candidate], prefer: list[str], situation: Situation) -> None:
    """Of two neighbours in the order the first one is not worse in what comes first."""
    order = [one.candidate for one in rank(unique(found), prefer, situation, 100.0).order]
    for better, worse in itertools.pairwise(order):
        assert grade(better, prefer, situation) <= grade(worse, prefer, situation)
        if better.transport in prefer and worse.transport in prefer:
            assert prefer.index(better.transport) <= prefer.index(worse.transport)
        assert better.transport in prefer or worse.transport not in prefer
        assert why_better(better, worse, prefer, situation)


@given(st.lists(CANDIDATES), PREFER, SITUATIONS, CANDIDATES)
def test_another_candidate_changes_no_order(
    found: list[Candidate], prefer: list[str], situation: Situation, more: Candidate
) -> None:
    """Whether one is before another depends on the two alone."""
    candidates = [one for one in unique(found) if (one.transport, one.address) != (more.transport, more.address)]
    without = rank(candidates, prefer, situation, 100.0)
    with_it = rank([*candidates, more], prefer, situation, 100.0)
    assert [one for one in with_it.order if one.candidate != more] == list(without.order)


@given(CANDIDATES, CANDIDATES, PREFER, SITUATIONS)
def test_a_change_is_never_worth_it_both_ways(
    one: Candidate, other: Candidate, prefer: list[str], situation: Situation
) -> None:
    """So nothing goes to and fro; and what is worth a change stands first."""
    changes = is_worth_a_change(one, other, prefer, situation)
    assert not (changes and is_worth_a_change(other, one, prefer, situation))
    assert not changes or grade(one, prefer, situation) < grade(other, prefer, situation)


@given(CANDIDATES, SITUATIONS)
def test_what_is_refused_is_refused_for_a_cause(candidate: Candidate, situation: Situation) -> None:
    """A candidate whose transport runs, that rests not, costs nothing and has a network may always be used."""
    sound = attrs.evolve(
        candidate,
        stopped="",
        spent=(),
        not_before=0.0,
        policy=Policy(min_battery=0.0),
        medium=attrs.evolve(candidate.medium, infrastructure=False),
    )
    assert not rank([sound], [], situation, 100.0).refused
    for worse in (
        attrs.evolve(sound, stopped="it failed"),
        attrs.evolve(sound, spent=("1 byte a day",)),
        attrs.evolve(sound, not_before=101.0, failures=1),
    ):
        assert not rank([worse], [], situation, 100.0).order


def test_the_defaults() -> None:
    """A fast free medium goes before a radio whose airtime is limited, unless the user prefers that."""
    situation = Situation()
    assert [one.candidate for one in rank([RADIO, LAN], [], situation, 0.0).order] == [LAN, RADIO]
    assert [one.candidate for one in rank([RADIO, LAN], ["radio"], situation, 0.0).order] == [RADIO, LAN]
    assert why_better(LAN, RADIO, [], situation) == "lan has no limit of airtime"
    assert why_better(RADIO, LAN, ["radio"], situation) == "radio comes before lan in `prefer`"


def test_what_costs_money() -> None:
    """It comes last by default, may be allowed or forbidden, and a metered connection makes what goes over it cost."""
    over_network = attrs.evolve(LAN, transport="internet", medium=attrs.evolve(LAN.medium, infrastructure=True))
    metered, free = Situation(metered="yes"), Situation(metered="no")
    assert rank([over_network, RADIO], [], free, 0.0).order[0].candidate is over_network
    assert rank([over_network, RADIO], [], metered, 0.0).order[0].candidate is RADIO
    used = attrs.evolve(over_network, policy=Policy(metered="use"))
    assert rank([used, RADIO], [], metered, 0.0).order[0].candidate is used
    never = attrs.evolve(over_network, policy=Policy(metered="never"))
    (refused,) = rank([never], [], metered, 0.0).refused
    assert refused.reasons == ("it costs money, which its settings forbid (metered)",)


def test_rest_after_failures() -> None:
    """A refusal for a while says until when; one that has other reasons too does not."""
    (refused,) = rank([attrs.evolve(LAN, failures=2, not_before=130.0)], [], Situation(), 100.0).refused
    assert refused.reasons == ("it failed 2 times and rests for 30 s more",)
    assert refused.until == 130.0
    both = attrs.evolve(LAN, failures=2, not_before=130.0, stopped="no adapter")
    assert rank([both], [], Situation(), 100.0).refused[0].until is None


def test_pauses() -> None:
    """What rests in the background, off the charger, or with a low battery."""
    hungry = Medium(bitrate=1000, latency=0.1, energy=3)
    low = Situation(battery=0.1, charging="no")
    assert pauses(hungry, Policy(), low)
    assert not pauses(hungry, Policy(), attrs.evolve(low, charging="yes"))
    assert not pauses(LAN.medium, Policy(), low)
    assert pauses(LAN.medium, Policy(min_battery=0.5), low)
    assert pauses(LAN.medium, Policy(when="foreground"), Situation(foreground=False))
    assert not pauses(LAN.medium, Policy(when="foreground"), Situation(foreground=True))
    assert pauses(LAN.medium, Policy(when="charging"), Situation(charging="no"))
    assert not pauses(LAN.medium, Policy(when="charging"), Situation(charging="unknown"))
