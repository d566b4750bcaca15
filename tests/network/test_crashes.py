"""Processes that are stopped and killed in the middle of traffic lose nothing that they confirmed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .lab import Device, Lab, assert_each_once, befriend, gather, in_step, until

WRITER = Path(__file__).with_name("writer.py")
KILLS = 60


@pytest.mark.slow
def test_restart_and_kill_in_the_middle_of_traffic(lab: Lab) -> None:
    """Three write; one is stopped and started, another is killed: all that was confirmed is everywhere, once."""
    ann, bob, carl = everyone = lab.start("Ann", "Bob", "Carl")
    befriend(ann, bob)
    befriend(ann, carl)
    gather(ann, bob, carl)
    for device in everyone:
        device.begin("pour", to="trip", prefix=f"{device.name} ")
    confirmed: list[str] = []
    for interrupted, end in ((bob, Device.stop), (carl, Device.kill), (bob, Device.kill)):
        until(lambda device=interrupted: len(device.sent()) >= 20, "it writes")  # type: ignore[misc]
        until(lambda d=interrupted: any(t.startswith("Ann") for t in d.texts("trip")), "it reads")  # type: ignore[misc]
        end(interrupted)
        confirmed += interrupted.sent()
        interrupted.start()
        interrupted.begin("pour", to="trip", prefix=f"{interrupted.name} again {len(confirmed)} ")
        until(lambda device=interrupted: len(device.sent()) >= 20, "it writes again")  # type: ignore[misc]
    for device in everyone:
        device.ask("hush")
        confirmed += device.sent()
    assert len(confirmed) == len(set(confirmed)) > 100
    in_step(everyone, "trip")
    for device in everyone:
        assert device.notices == [], "nobody became a new device"
        assert_each_once(device, "trip", confirmed)
        assert device.read("group_show", "trip")["members"] == 3
        headers = [tuple(header) for header in device.ask("counters")]
        assert len(headers) == len(set(headers)), "a counter sealed two messages"


class Writer:
    """A process that forks one writing process after the other; each is killed."""

    def __init__(self, home: Path, log: Path) -> None:
        with log.open("wb") as errors:
            command = [sys.executable, str(WRITER), str(home)]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        self.confirmed: list[str] = []
        self.lives: list[int] = []

    def live(self, delay: float) -> None:
        """Let one process write until it is killed, `delay` seconds after its start."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        time.sleep(delay)  # the point of the kill is meant to be arbitrary
        os.kill(child, signal.SIGKILL)
        written = len(self.confirmed)
        for line in iter(self.process.stdout.readline, b"killed\n"):
            assert line, "the writer is gone"
            if line.endswith(b"\n"):
                said = json.loads(line)
                assert said.get("notices", []) == [], said
                self.confirmed += [said["sent"]] if "sent" in said else []
        self.lives.append(len(self.confirmed) - written)

    def close(self) -> None:
        """End it."""
        self.process.communicate()


@contextmanager
def writer(directory: Path) -> Iterator[Writer]:
    made = Writer(directory / "home", directory / "writer.log")
    try:
        yield made
    except BaseException:
        print((directory / "writer.log").read_text())
        raise
    finally:
        made.close()


@pytest.mark.slow
def test_killed_at_random_points(loopback: Lab, tmp_path: Path) -> None:
    """A device that sends is killed sixty times at random points: nothing confirmed is lost, no counter used twice."""
    chance = random.Random(9)
    with writer(tmp_path) as killed:
        while len(killed.lives) < KILLS:
            killed.live(chance.uniform(0, 0.15))
    assert sum(written > 0 for written in killed.lives) > KILLS // 3, killed.lives
    assert len(killed.confirmed) == len(set(killed.confirmed)) > KILLS
    device = loopback.device("Ann", home=tmp_path / "home").start(network=False)
    assert device.notices == []
    assert len(device.read("account_show")["devices"]) == 1, "the device stayed the same"
    assert_each_once(device, "notes", killed.confirmed)
    mine = [message["id"] for message in device.read("read", "notes", 0, False)]
    assert set(mine) == set(device.ask("arrivals"))
    headers = [tuple(header) for header in device.ask("counters")]
    assert len(headers) == len(set(headers)) == len(mine)
    assert [counter for _, _, counter in headers] == list(range(1, len(mine) + 1)), "and none was left out"
