"""The hub of these tests does what it says: real UDP over TAP devices is lost, repeated, reordered and cut."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .lab import LossyHub, reason_to_skip_hubs

pytestmark = pytest.mark.netns
LISTEN = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 4000)); s.settimeout(20)
print("up", flush=True)
while (data := s.recv(65536)) != b"end": print(len(data), flush=True)
"""
SEND = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(int(sys.argv[2])):
    s.sendto(bytes(int(sys.argv[3])), (sys.argv[1], 4000)); time.sleep(0.001)
time.sleep(0.2)
for _ in range(50): s.sendto(b"end", (sys.argv[1], 4000))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LossyHub]:
    """A hub of two ports that is perfect as yet."""
    if reason := reason_to_skip_hubs():
        pytest.skip(reason)
    made = LossyHub(tmp_path, ports=2)
    try:
        made.plug(), made.plug()
        yield made
    finally:
        made.close()


def arrived(hub: LossyHub, count: int, size: int) -> int:
    """How many datagrams of a size arrive of those that host 1 sends to host 2."""
    listener = hub.run(2, sys.executable, "-c", LISTEN)
    assert listener.stdout is not None
    assert listener.stdout.readline() == "up\n"
    command = [*hub.enter(1), sys.executable, "-c", SEND, "192.0.2.2", str(count), str(size)]
    subprocess.run(command, check=True)
    return len(listener.communicate(timeout=30)[0].split())


def test_perfect_at_first(hub: LossyHub) -> None:
    """Without settings everything arrives that fits."""
    assert arrived(hub, 300, 233) == 300


def test_large_datagrams(hub: LossyHub) -> None:
    """A datagram of one byte more than the mtu is dropped, and so is one that IP splits."""
    assert arrived(hub, 20, 234) == 0
    assert arrived(hub, 20, 3000) == 0
    assert hub.set()["too large"] >= 40


def test_losses(hub: LossyHub) -> None:
    """About a third is lost, and the hub says how many."""
    hub.set(loss=0.33)
    assert 120 < arrived(hub, 300, 100) < 280
    assert hub.set()["lost"] > 20


def test_repetition(hub: LossyHub) -> None:
    """Some arrive twice."""
    hub.set(repeat=0.3, reorder=0.5)
    assert arrived(hub, 300, 100) > 320
    assert hub.set()["reordered"] > 50
