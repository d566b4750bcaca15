"""Quotas: no window has more than it may, whatever clock and restarts do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from berty_core.protocol.quotas import DAY, SLICES, Ledger, decode_ledgers, encode_ledgers

STEPS = st.lists(st.tuples(st.floats(0, DAY), st.floats(0.1, 100)), max_size=60)


@given(STEPS)
def test_never_less_than_what_was_used_in_a_window(steps: list[tuple[float, float]]) -> None:
    """Everything that was used within the last day counts, and what is more than a slice older does not."""
    ledger, now, events = Ledger(DAY), 1.7e9, list[tuple[float, float]]()
    for pause, amount in steps:
        now += pause
        ledger.add(amount, now)
        events.append((now, amount))
        counted = ledger.used(now)
        assert counted >= sum(used for at, used in events if at > now - DAY) - 1e-6
        assert counted <= sum(used for at, used in events if at > now - DAY - 2 * DAY / SLICES) + 1e-6


@given(st.floats(1, 1e8))
def test_a_clock_that_is_set_back_frees_nothing(back: float) -> None:
    """What was used before counts for a day from now on, and no longer."""
    ledger = Ledger(DAY)
    ledger.add(50, 1.7e9)
    now = 1.7e9 - back
    assert ledger.used(now) == 50
    assert ledger.used(now + DAY * 0.99) == 50
    assert ledger.used(now + DAY * (1 + 2 / SLICES)) == 0


@given(STEPS, st.floats(1, 500))
def test_free_again(steps: list[tuple[float, float]], limit: float) -> None:
    """At the time it names, less than the limit counts; a slice before that, not yet."""
    ledger, now = Ledger(DAY), 1.7e9
    for pause, amount in steps:
        now += pause / 10
        ledger.add(amount, now)
    free = ledger.free_at(limit, now)
    if free > now:
        assert Ledger.from_value(DAY, ledger.to_value()).used(free - 1) >= limit - 1e-6
    assert ledger.used(free + 1) <= limit


@given(STEPS)
def test_kept_over_a_restart(steps: list[tuple[float, float]]) -> None:
    """What was kept counts as before."""
    ledger, now = Ledger(DAY), 1.7e9
    for pause, amount in steps:
        now += pause
        ledger.add(amount, now)
    again = decode_ledgers(encode_ledgers({"bytes": ledger}), {"bytes": DAY})["bytes"]
    assert again.used(now) == ledger.used(now)


@given(st.binary(max_size=200))
def test_damaged_records_begin_anew(data: bytes) -> None:
    """Whatever stands there, there is a ledger."""
    assert decode_ledgers(data, {"bytes": DAY})["bytes"].used(1.7e9) >= 0
