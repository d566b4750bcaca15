"""Strangers on the port get no byte back, and cannot keep a device from serving its friends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .lab import Device, Lab, befriend, until

ATTACKER = Path(__file__).with_name("attacker.py")


def attack(lab: Lab, victim: Device, kind: str, argument: str, host: int) -> subprocess.Popen[str]:
    """Begin an attack from a host; returns once the first connections are being made."""
    port = victim.ask("shown")["port"]
    program = lab.run(host, sys.executable, str(ATTACKER), lab.address(victim), str(port), kind, argument)
    assert program.stdout is not None
    assert json.loads(program.stdout.readline())["began"] > 0
    return program


def outcome(program: subprocess.Popen[str]) -> dict[str, int]:
    """What came of an attack."""
    assert program.stdout is not None
    result: dict[str, int] = json.loads(program.stdout.readline())
    return result


def talk(ann: Device, bob: Device, text: str) -> None:
    """See that texts still pass in both directions."""
    for sender, receiver in ((ann, bob), (bob, ann)):
        said = f"{text}, says {sender.name}"
        sender.send(receiver.name, said)
        until(lambda s=sender, r=receiver, t=said: t in r.texts(s.name), f"{receiver.name} has {said!r}")  # type: ignore[misc]


@pytest.mark.slow
def test_attacks_on_the_port(lab: Lab) -> None:
    """Garbage, stalls, lengths of 2^31 and a crowd get not one byte and are closed; meanwhile friends talk and meet."""
    ann, bob = lab.start("Ann", "Bob")
    befriend(ann, bob)
    host = lab.plug()
    tag = ann.ask("shown")["tags"][-1]
    programs = {kind: attack(lab, ann, kind, tag, host) for kind in ("garbage", "lengths", "stalls")}
    talk(ann, bob, "under attack")
    crowd = attack(lab, ann, "crowd", tag, host)
    talk(ann, bob, "in a crowd")
    bob.restart()
    talk(ann, bob, "met again in the crowd")
    for kind, program in programs.items():
        result = outcome(program)
        assert result["bytes"] == 0, f"{kind} was answered"
        assert result["closed"] == result["of"], f"connections of {kind} are held open"
    result = outcome(crowd)
    assert result["bytes"] == 0
    assert result["closed"] == result["of"] > 200
    talk(ann, bob, "after it")
    until(lambda: ann.ask("links") == 1, "all strangers are gone")


def test_a_recorded_session_sent_again(lab: Lab, tmp_path: Path) -> None:
    """Whoever recorded a session from its first byte and sends it again in the same period gets no byte back."""
    ann, bob = lab.start("Ann", "Bob")
    befriend(ann, bob)
    host = lab.plug()
    for device in (ann, bob):
        device.stop()
    tape = tmp_path / "tape"
    for device in (ann, bob):
        device.start(record=f"{tape}-{device.name}-")
    until(lambda: ann.ask("sessions") and bob.ask("sessions"), "they met")
    talk(ann, bob, "recorded")
    (recorded,) = [path for path in tmp_path.glob("tape-*") if path.stat().st_size > 300]
    victim = bob if f"-{ann.name}-" in recorded.name else ann
    assert recorded.read_bytes()[1:9].hex() in victim.ask("shown")["tags"], "the tag is still shown"
    result = outcome(attack(lab, victim, "replay", str(recorded), host))
    assert result == {"bytes": 0, "closed": result["of"], "of": result["of"]}
    talk(ann, bob, "afterwards")
