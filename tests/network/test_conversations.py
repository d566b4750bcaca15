"""People meet, become contacts, talk in pairs and in a group, on real networks."""

from __future__ import annotations

import pytest

from .lab import Bridge, DeviceError, Lab, assert_each_once, befriend, gather, has_texts, in_step, state_of, until


def test_contact_and_texts_both_ways(lab: Lab) -> None:
    """Two devices find each other, become contacts by a link, and exchange texts whose delivery is proven."""
    ann, bob = lab.start("Ann", "Bob")
    befriend(ann, bob)
    first = bob.send("Ann", "hello Ann")
    until(lambda: ann.texts("Bob") == ["hello Ann"], "Ann reads Bob's text")
    second = ann.send("Bob", "hello Bob")
    until(lambda: bob.texts("Ann") == ["hello Ann", "hello Bob"], "Bob reads both in order")
    until(lambda: bob.read("message_state", "Ann", first)["state"] == "acknowledged", "Bob's text is acknowledged")
    state = until(
        lambda: (found := ann.read("message_state", "Bob", second))["state"] == "acknowledged" and found,
        "Ann's text is acknowledged",
    )
    device = bob.read("account_show")["device"]
    assert [holder["device"] for holder in state["held"]] == [device]
    assert [taker["device"] for taker in state["acknowledged"]] == [device]
    assert ann.read("contact_verify", "Bob")["fingerprint"] == bob.read("contact_verify", "Ann")["fingerprint"]


def test_group_of_three(lab: Lab) -> None:
    """Three devices chat in a group that two of them were invited to, and hold the same of it."""
    ann, bob, carl = everyone = lab.start("Ann", "Bob", "Carl")
    befriend(ann, bob)
    befriend(ann, carl)
    gather(ann, bob, carl)
    sent = [device.send("trip", f"{device.name} says {n}") for n in range(5) for device in everyone]
    for device in everyone:
        has_texts(device, "trip", len(sent))
        assert_each_once(device, "trip", sent)
        shown = {message["text"]: message["sender"] for message in device.read("read", "trip", 0, False)}
        assert shown == {f"{other.name} says {n}": other.name for n in range(5) for other in everyone}
    in_step(everyone, "trip")


def test_request_to_somebody_who_is_offline(lab: Lab) -> None:
    """A stranger asks by a link while its owner is away; the request waits, survives a restart, and arrives later."""
    ann, bob = lab.start("Ann", "Bob")
    link = ann.write("contact_link")["link"]
    ann.stop()
    bob.write("contact_add", link)
    assert state_of(bob, "Ann") == "to_request"
    with pytest.raises(DeviceError, match="your request has not reached them yet"):
        bob.send("Ann", "too early")
    bob.restart()
    assert state_of(bob, "Ann") == "to_request"
    ann.start()
    until(lambda: state_of(ann, "Bob") == "received", "the request arrives")
    until(lambda: state_of(bob, "Ann") == "added", "Bob knows that it did")
    early = bob.send("Ann", "before you accept")
    ann.write("contact_accept", "Bob")
    until(lambda: ann.texts("Bob") == ["before you accept"], "what Bob wrote meanwhile")
    until(lambda: bob.read("message_state", "Ann", early)["state"] in ("held", "acknowledged"), "and Bob knows")


@pytest.mark.netns
def test_ipv6_alone(bridge: Bridge) -> None:
    """Hosts that have link-local IPv6 addresses and nothing else meet as well."""
    ann, bob = bridge.device("Ann"), bridge.device("Bob")
    bridge.only_ipv6()
    for device in (ann, bob):
        device.start()
    befriend(ann, bob)
    ann.send("Bob", "over IPv6")
    until(lambda: bob.texts("Ann") == ["over IPv6"], "Bob reads it")
    (peer,) = ann.ask("status")["peers"]
    assert peer["name"] == "Bob"
    assert {group["name"] for group in peer["groups"]} == {"Bob"}
