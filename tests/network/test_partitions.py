"""Devices that are cut off, move, or have a wrong clock come to hold the same again."""

from __future__ import annotations

import pytest

from .lab import Bridge, Device, Lab, assert_each_once, befriend, gather, has_texts, in_step, until

YEAR = 365 * 86400.0


def trio(lab: Lab) -> list[Device]:
    """Three contacts in a group that is quiet."""
    ann, bob, carl = everyone = lab.start("Ann", "Bob", "Carl")
    befriend(ann, bob)
    befriend(ann, carl)
    gather(ann, bob, carl)
    in_step(everyone, "trip")
    return everyone


@pytest.mark.slow
def test_both_sides_write_while_apart(lab: Lab) -> None:
    """One is cut off, both sides write 500 messages, it joins again: all have all, once, in one order."""
    ann, bob, carl = everyone = trio(lab)
    lab.cut(carl)
    until(lambda: not carl.ask("sessions") or lab.kind == "bridge", "Carl is alone")
    requests = [(ann, 250), (bob, 250), (carl, 500)]
    begun = [
        (device, device.begin("burst", to="trip", prefix=f"{device.name} ", count=count)) for device, count in requests
    ]
    sent = {device.name: device.answer(number) for device, number in begun}
    assert len(carl.texts("trip")) == 500
    until(lambda: len(ann.texts("trip")) == len(bob.texts("trip")) == 500, "the two have what they wrote")
    lab.join(carl)
    everything = [cid for ids in sent.values() for cid in ids]
    assert len(set(everything)) == 1000
    for device in everyone:
        has_texts(device, "trip", 1000)
    in_step(everyone, "trip")
    orders = [device.texts("trip") for device in everyone]
    assert orders[0] == orders[1] == orders[2]
    for device in everyone:
        assert_each_once(device, "trip", everything)
        assert device.read("group_show", "trip")["waiting"] == {}
        states = {tuple(state) for state in device.ask("states", to="trip", ids=sent[device.name])}
        assert states == {("acknowledged", 2, 2)}, f"the others have all that {device.name} wrote, and it knows"


@pytest.mark.slow
def test_address_changes_in_the_middle(lab: Lab) -> None:
    """A device moves to another address while both sides write: what is written goes through, in both directions."""
    ann, bob = lab.start("Ann", "Bob")
    befriend(ann, bob)
    begun = [ann.begin("burst", to="Bob", prefix="a", count=50), bob.begin("burst", to="Ann", prefix="b", count=50)]
    before = ann.answer(begun[0]) + bob.answer(begun[1])
    lab.move(bob)
    after = [ann.send("Bob", "to the new place"), bob.send("Ann", "from the new place")]
    for device, other in ((ann, "Bob"), (bob, "Ann")):
        has_texts(device, other, 102)
        assert_each_once(device, other, before + after)


@pytest.mark.netns
@pytest.mark.slow
def test_a_cut_that_no_host_sees(bridge: Bridge) -> None:
    """A cable is pulled behind the bridge while both write; put back, everything goes through."""
    ann, bob = bridge.start("Ann", "Bob")
    befriend(ann, bob)
    bridge.cut_unnoticed(bob)
    sent = [ann.send("Bob", "into the void"), bob.send("Ann", "out of it")]
    assert ann.read("message_state", "Bob", sent[0])["state"] in ("stored", "sent")
    bridge.join(bob)
    for device, other in ((ann, "Bob"), (bob, "Ann")):
        has_texts(device, other, 2)
        assert_each_once(device, other, sent)


def test_clocks_a_year_off(lab: Lab) -> None:
    """One clock is a year fast and one a year slow: they meet, talk in the order of what was said, and it shows."""
    fast = lab.device("Ann").start(clock=YEAR)
    slow = lab.device("Bob").start(clock=-YEAR)
    befriend(fast, slow)
    said = []
    for number in range(4):
        sender, other = (fast, slow) if number % 2 else (slow, fast)
        said.append(f"{sender.name} {number}")
        sender.send(other.name, said[-1])
        for device, name in ((fast, "Bob"), (slow, "Ann")):
            until(lambda d=device, n=name: d.texts(n) == said, f"{device.name} has {said}")  # type: ignore[misc]
    implausible = [m["sent_implausible"] for m in slow.read("read", "Ann", 0, False)]
    assert implausible == [False, True, False, True], "what comes from the future is marked"
    received = [m["received"] >= m["sent"] for m in fast.read("read", "Bob", 0, False)]
    assert all(received)
