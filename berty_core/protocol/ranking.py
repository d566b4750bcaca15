"""Which transport to use, and why: candidates in order with reasons, and refusals with theirs.

A total order that depends on nothing but its arguments: by the user's `prefer`, then by cost, then by speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import attrs

Tri = Literal["yes", "no", "unknown"]
LOW_BATTERY = 0.15  # below it a medium that drains the battery rests, unless the policy says otherwise
DRAINING = 3  # the energy (1 to 3) from which a medium drains a battery
_TYPICAL = 8 * 1024  # bits whose transfer stands for speed: a message and what is said about it


def _share(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not (value == -1 or 0 <= value <= 1):
        raise ValueError(f"{attribute.name}: a share from 0 to 1 is needed, not {value:g}")


def _not_negative(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not value >= 0:
        raise ValueError(f"{attribute.name}: 0 (no limit) or more is needed, not {value:g}")


@attrs.frozen(kw_only=True)
class Policy:
    """What a person allows one transport: the table `[node.transports.NAME]`.

    `min_battery` (0 to 1; -1: 0.15 for what drains a battery, 0 for all else); amounts of 0 are no limit.
    """

    metered: Literal["use", "avoid", "never"] = "avoid"
    when: Literal["always", "foreground", "charging"] = "always"
    min_battery: float = attrs.field(default=-1.0, validator=_share)
    bytes_per_day: int = attrs.field(default=0, validator=_not_negative)
    messages_per_day: int = attrs.field(default=0, validator=_not_negative)
    airtime_per_hour: float = attrs.field(default=0.0, validator=_not_negative)


@attrs.frozen(kw_only=True)
class Medium:
    """What a medium costs and gives: `energy` 1 to 3, `bitrate` in bit/s, `latency` in s."""

    bitrate: int
    latency: float
    energy: int = 1
    metered: bool = False
    infrastructure: bool = False
    budgeted: bool = False


@attrs.frozen(kw_only=True)
class Situation:
    """What is known of the device's surroundings, as far as it matters here."""

    online: Tri = "unknown"
    metered: Tri = "unknown"
    charging: Tri = "unknown"
    battery: float | None = None
    foreground: bool = True


@attrs.frozen(kw_only=True)
class Candidate:
    """One way to a peer. `stopped` says why its transport does not run; `spent` which quotas are used up.

    `not_before`: seconds of the clock that `rank` is given, up to which it is left alone after `failures`.
    """

    transport: str
    address: str
    medium: Medium
    policy: Policy = attrs.field(factory=Policy)
    stopped: str = ""
    spent: tuple[str, ...] = ()
    failures: int = 0
    not_before: float = 0.0


@attrs.frozen
class Ranked:
    """A candidate that may be used, and what speaks for and against it."""

    candidate: Candidate
    reasons: tuple[str, ...]


@attrs.frozen
class Refused:
    """A candidate that may not be used now, why, and until when, if that is known."""

    candidate: Candidate
    reasons: tuple[str, ...]
    until: float | None = None


@attrs.frozen
class Ranking:
    """The best first, then what is refused."""

    order: tuple[Ranked, ...]
    refused: tuple[Refused, ...]


def rank(candidates: Iterable[Candidate], prefer: Sequence[str], situation: Situation, now: float) -> Ranking:
    """Put candidates into an order; the same ones give the same order, however they come."""
    order, refused = [], []
    for candidate in sorted(candidates, key=lambda one: sort_key(one, prefer, situation)):
        reasons = refusals(candidate, situation, now)
        if reasons:
            until = candidate.not_before if len(reasons) == 1 and candidate.not_before > now else None
            refused.append(Refused(candidate, reasons, until))
        else:
            order.append(Ranked(candidate, _merits(candidate, prefer, situation)))
    return Ranking(tuple(order), tuple(refused))


def sort_key(candidate: Candidate, prefer: Sequence[str], situation: Situation) -> tuple[object, ...]:
    """What the order goes by; smaller is better. The names come last, so that no two are alike."""
    return (*grade(candidate, prefer, situation), candidate.failures, candidate.transport, candidate.address)


def grade(candidate: Candidate, prefer: Sequence[str], situation: Situation) -> tuple[float, ...]:
    """What tells media apart: of two of the same grade neither is worth changing to."""
    medium = candidate.medium
    place = prefer.index(candidate.transport) if candidate.transport in prefer else len(prefer)
    avoided = costs_money(candidate, situation) and candidate.policy.metered != "use"
    return (place, avoided, medium.budgeted, medium.energy, seconds_for_a_message(medium))


def is_worth_a_change(better: Candidate, worse: Candidate, prefer: Sequence[str], situation: Situation) -> bool:
    """Whether a peer that is met over `worse` should be met over `better`: not for a little more speed."""
    *costs, seconds = grade(better, prefer, situation)
    *other_costs, other_seconds = grade(worse, prefer, situation)
    return costs < other_costs or (costs == other_costs and 2 * seconds <= other_seconds)


def seconds_for_a_message(medium: Medium) -> float:
    """How long a message takes to get there, roughly."""
    return medium.latency + _TYPICAL / max(1, medium.bitrate)


def costs_money(candidate: Candidate, situation: Situation) -> bool:
    """Whether bytes on it are paid for: by the medium's nature, or since it goes over a connection that is metered."""
    return candidate.medium.metered or (candidate.medium.infrastructure and situation.metered == "yes")


def refusals(candidate: Candidate, situation: Situation, now: float) -> tuple[str, ...]:
    """Why it may not be used now, in words; nothing: it may."""
    reasons = [candidate.stopped] if candidate.stopped else list(pauses(candidate.medium, candidate.policy, situation))
    if candidate.medium.infrastructure and situation.online == "no":
        reasons.append("there is no network")
    if costs_money(candidate, situation) and candidate.policy.metered == "never":
        reasons.append("it costs money, which its settings forbid (metered)")
    reasons += [f"its quota is used up ({quota})" for quota in candidate.spent]
    if candidate.not_before > now:
        times = "once" if candidate.failures == 1 else f"{candidate.failures} times"
        reasons.append(f"it failed {times} and rests for {candidate.not_before - now:.0f} s more")
    return tuple(reasons)


def pauses(medium: Medium, policy: Policy, situation: Situation) -> tuple[str, ...]:
    """Why a transport does not run at all for now, in words; nothing: it runs."""
    reasons = []
    if policy.when == "foreground" and not situation.foreground:
        reasons.append("it rests in the background, as its settings say (when)")
    if policy.when == "charging" and situation.charging == "no":
        reasons.append("it waits for the charger, as its settings say (when)")
    least = policy.min_battery
    if least < 0:
        least = LOW_BATTERY if medium.energy >= DRAINING else 0.0
    if situation.battery is not None and situation.battery < least and situation.charging != "yes":
        reasons.append(f"the battery is at {situation.battery:.0%}, and it needs {least:.0%} (min_battery)")
    return tuple(reasons)


def _merits(candidate: Candidate, prefer: Sequence[str], situation: Situation) -> tuple[str, ...]:
    medium = candidate.medium
    words = []
    if candidate.transport in prefer:
        words.append(f"it is number {prefer.index(candidate.transport) + 1} in `prefer`")
    words.append("it costs money" if costs_money(candidate, situation) else "it is free")
    if medium.budgeted:
        words.append("its airtime is limited")
    words.append(f"it needs {('little', 'some', 'much')[min(max(medium.energy, 1), 3) - 1]} energy")
    words.append(f"a message takes about {_duration(seconds_for_a_message(medium))}")
    if candidate.failures:
        words.append(f"it failed {candidate.failures} times" if candidate.failures > 1 else "it failed once")
    return tuple(words)


def why_better(better: Candidate, worse: Candidate, prefer: Sequence[str], situation: Situation) -> str:
    """What decides between two, in words."""
    differences = [
        one != other for one, other in zip(*(grade(c, prefer, situation) for c in (better, worse)), strict=True)
    ]
    first = differences.index(True) if True in differences else len(differences)
    return (
        f"{better.transport} comes before {worse.transport} in `prefer`",
        f"{better.transport} costs no money",
        f"{better.transport} has no limit of airtime",
        f"{better.transport} needs less energy",
        f"{better.transport} is faster",
        "both are alike",
    )[first]


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.0f} s"
