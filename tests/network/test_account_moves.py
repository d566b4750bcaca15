"""An account on several devices: an archive imported offline, one beside the living device, and a copied home."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .lab import Lab, assert_each_once, befriend, gather, has_texts, in_step, until


@pytest.mark.slow
def test_import_offline_and_beside_the_living_device(lab: Lab, tmp_path: Path) -> None:
    """An imported account reads every old message offline; online it is a second device in step with the first."""
    ann, bob = lab.start("Ann", "Bob")
    befriend(ann, bob)
    gather(ann, bob)
    old = {}
    for to in ("Bob", "trip"):
        old[to] = ann.ask("burst", to=to, prefix="ann ", count=20)
    for to in ("Ann", "trip"):
        old[{"Ann": "Bob"}.get(to, to)] += bob.ask("burst", to=to, prefix="bob ", count=20)
    until(lambda: len(ann.texts("Bob")) == len(ann.texts("trip")) == 40, "Ann has all")
    archive = tmp_path / "ann.tar"
    assert ann.ask("export", path=str(archive)) > 80

    # offline, in an empty home
    twin = lab.device("Ann").start(archive=str(archive), network=False)
    assert twin.read("account_show")["id"] == ann.read("account_show")["id"]
    for to, ids in old.items():
        assert_each_once(twin, to, ids)
        assert twin.texts(to) == ann.texts(to)

    # beside the living device
    twin.restart(archive="", network=True)
    until(lambda: len(ann.read("account_show")["devices"]) == 2, "the first device knows of the second")
    in_step([ann, twin], "")
    until(
        lambda: len(bob.read("group_show", "Ann")["member_list"]) and devices(bob, "Ann", "Ann") == 2, "Bob sees both"
    )
    sent = [ann.send("Bob", "from the first"), twin.send("Bob", "from the second"), bob.send("Ann", "to both")]
    for device, to in ((ann, "Bob"), (twin, "Bob"), (bob, "Ann")):
        has_texts(device, to, 43)
        assert_each_once(device, to, sent)

    # what is made later appears on both
    (carl,) = lab.start("Carl")
    befriend(twin, carl)
    until(lambda: "Carl" in [c["name"] for c in ann.read("contact_list") if c["state"] == "added"], "Carl on the first")
    gather(ann, carl, name="later")
    until(lambda: "later" in [group["name"] for group in twin.read("group_list")], "the group on the second")
    late = [ann.send("later", "one"), carl.send("later", "two")]
    until(lambda: len(twin.texts("later")) == 2, "the second reads what is said there")
    late.append(twin.send("later", "three"))
    for device in (ann, twin, carl):
        has_texts(device, "later", 3)
        assert_each_once(device, "later", late)
    in_step([ann, twin], "")
    in_step([ann, twin, carl], "later")


def devices(device, group: str, member: str) -> int:  # type: ignore[no-untyped-def]
    """How many devices of a member a group has."""
    return sum(len(m["devices"]) for m in device.read("group_show", group)["member_list"] if m["name"] == member)


def test_a_copied_home_is_another_device(lab: Lab, tmp_path: Path) -> None:
    """Of a home and its copy both send: no counter of one chain is used twice, and the copy says what it is."""
    ann, bob = lab.start("Ann", "Bob")
    befriend(ann, bob)
    gather(ann, bob)
    before = ann.ask("burst", to="trip", prefix="before ", count=10)
    ann.stop()
    place = tmp_path / "copy"
    subprocess.run(["cp", "-a", str(ann.home), str(place)], check=True)
    copy = lab.device("Ann", home=place).start(network=False)
    assert len(copy.notices) == 1 and "copy" in copy.notices[0]
    ann.start(network=False)
    assert ann.notices == []
    sent = (
        before
        + ann.ask("burst", to="trip", prefix="a ", count=10)
        + copy.ask("burst", to="trip", prefix="c ", count=10)
    )
    for device in (ann, copy):
        device.restart(network=True)
        assert device.notices == [], "said once"
    for device in (ann, copy, bob):
        has_texts(device, "trip", 30)
        assert_each_once(device, "trip", sent)
        headers = [tuple(header) for header in device.ask("counters")]
        assert len(headers) == len(set(headers)), "a counter sealed two messages"
    in_step([ann, copy, bob], "trip")
    in_step([ann, copy], "")
    assert devices(bob, "trip", "Ann") == 2
