"""Two real wires between two devices in processes of their own: one dies in silence, and the other one is used."""

from __future__ import annotations

import time

import pytest

from .lab import Bridge, Device, assert_each_once, befriend, has_texts, until


def met_over(device: Device) -> list[str]:
    """The transports of a device's open sessions."""
    return [peer["transport"] for peer in device.ask("status")["peers"]]


def two_with_a_cable(bridge: Bridge) -> tuple[Device, Device]:
    """Ann and Bob on the bridge, with a cable besides."""
    ann, bob = bridge.device("Ann"), bridge.device("Bob")
    addresses = bridge.lay_cable(ann, bob)
    for device, cable in ((ann, addresses), (bob, addresses[::-1])):
        device.start(transports={"mdns": {"interfaces": ["eth0"]}}, cable=cable)
    befriend(ann, bob)
    until(lambda: met_over(ann) == met_over(bob) == ["mdns"], "both keep the session over the LAN")
    return ann, bob


@pytest.mark.netns
@pytest.mark.slow
def test_a_wire_that_dies_in_silence(bridge: Bridge) -> None:
    """While both write, a wire is cut where no host sees it: no text is lost, none is shown twice."""
    ann, bob = two_with_a_cable(bridge)
    sent = [device.send(other, str(number)) for number in range(10) for device, other in ((ann, "Bob"), (bob, "Ann"))]
    bridge.cut_unnoticed(bob)
    start = time.monotonic()
    marks = [ann.send("Bob", "after the cut"), bob.send("Ann", "after the cut")]
    for device, other, mark in ((ann, "Bob", marks[1]), (bob, "Ann", marks[0])):
        until(lambda d=device, o=other, m=mark: m in [one["id"] for one in d.read("read", o, 0, False)], "it came")  # type: ignore[misc]
    print(f"the first texts after the cut took {time.monotonic() - start:.2f} s")
    sent += [device.send(other, str(number)) for number in range(10) for device, other in ((ann, "Bob"), (bob, "Ann"))]
    for device, other in ((ann, "Bob"), (bob, "Ann")):
        has_texts(device, other, len(sent) + 2)
        assert_each_once(device, other, sent + marks)
        until(lambda d=device: met_over(d) == ["cable"], "the dead session is gone")  # type: ignore[misc]
    told = [one["words"] for device in (ann, bob) for one in device.ask("status")["decisions"]]
    assert any("leaves what was sent without an answer" in words for words in told)


@pytest.mark.netns
@pytest.mark.slow
def test_a_wire_that_comes_back(bridge: Bridge) -> None:
    """The better one is used again, and the session over the other one is drained; nothing comes twice."""
    ann, bob = two_with_a_cable(bridge)
    bridge.cut_unnoticed(bob)
    sent = [ann.send("Bob", "by cable")]
    has_texts(bob, "Ann", 1)
    bridge.join(bob)
    until(lambda: met_over(ann) == met_over(bob) == ["mdns"], "the LAN is used again", within=90)
    sent.append(ann.send("Bob", "by the LAN"))
    has_texts(bob, "Ann", 2)
    assert_each_once(bob, "Ann", sent)
