"""What a listener on the network can link: nothing but network addresses."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

SCRIPT = Path(__file__).with_name("capture_two_periods.py")
COMMON = {b"_berty", b"_tcp", b"_udp", b"_services", b"_dns-sd", b"local"}
A, PTR, TXT, AAAA, SRV, NSEC = 1, 12, 16, 28, 33, 47


@attrs.define
class Capture:
    """Everything in the packets of one period that could tell a device: fields, and raw bytes outside the framing."""

    hosts: set[bytes] = attrs.field(factory=set)
    labels: set[bytes] = attrs.field(factory=set)
    texts: set[bytes] = attrs.field(factory=set)
    ports: set[int] = attrs.field(factory=set)
    fragments: list[bytes] = attrs.field(factory=list)
    questions: int = 0
    goodbyes: int = 0

    def windows(self) -> set[bytes]:
        return {part[i : i + 8] for part in self.fragments for i in range(len(part) - 7)}


class Reader:
    """A plain DNS reader, written for this test so that it shares no code with what it checks."""

    def __init__(self, packet: bytes, into: Capture) -> None:
        self.packet, self.into = packet, into
        self.framing = bytearray(len(packet))  # 1 where a byte is framing, a common name or an address
        self.offset = 0

    def skip(self, count: int) -> bytes:
        part = self.packet[self.offset : self.offset + count]
        self.framing[self.offset : self.offset + count] = b"\x01" * count
        self.offset += count
        return part

    def name(self) -> list[bytes]:
        labels = []
        resume = None
        while True:
            length = self.packet[self.offset]
            if length >= 0xC0:
                target = struct.unpack("!H", self.skip(2))[0] & 0x3FFF
                resume = self.offset if resume is None else resume
                self.offset = target
                continue
            label = self.packet[self.offset + 1 : self.offset + 1 + length]
            if label in COMMON or not length:
                self.skip(1 + length)
            else:
                self.offset += 1 + length
            if not length:
                break
            labels.append(label)
        self.offset = self.offset if resume is None else resume
        self.into.labels |= set(labels) - COMMON
        return labels

    def record(self) -> None:
        self.name()
        kind, _, ttl, length = struct.unpack("!HHIH", self.skip(10))
        self.into.goodbyes += ttl == 0
        end = self.offset + length
        if kind in (A, AAAA):
            self.skip(length)
        elif kind == PTR:
            self.name()
        elif kind == TXT:
            self.into.texts.add(self.packet[self.offset : end])
        elif kind == SRV:
            self.into.ports.add(struct.unpack("!HHH", self.packet[self.offset : self.offset + 6])[2])
            self.offset += 6
            self.into.hosts.add(self.name()[0])
        else:
            assert kind == NSEC, f"record of kind {kind}"
            self.name()
        self.offset = end

    def read(self) -> None:
        questions, *records = struct.unpack("!4H", self.skip(12)[4:])
        for _ in range(questions):
            self.name()
            self.skip(4)
        for _ in range(sum(records)):
            self.record()
        self.into.questions += questions
        part = bytearray()
        for byte, is_framing in zip(self.packet, self.framing, strict=True):
            if is_framing:
                self.into.fragments.append(bytes(part))
                part.clear()
            else:
                part.append(byte)
        self.into.fragments.append(bytes(part))


def read_all(period) -> Capture:
    capture = Capture()
    for packet in period["packets"]:
        Reader(bytes.fromhex(packet), capture).read()
    return capture


def run_script():
    """Run in a network namespace of its own if that is permitted, so that no other node is in the capture."""
    command = [sys.executable, str(SCRIPT)]
    private = ["unshare", "-Urn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if shutil.which("unshare") and subprocess.run([*private, "true"], check=False, capture_output=True).returncode == 0:
        command = [*private, *command]
    done = subprocess.run(command, check=True, capture_output=True, timeout=30)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def periods():
    return run_script()


def test_two_periods_share_no_eight_bytes(periods):
    """No 8-byte string outside service type, framing and network addresses occurs in both periods."""
    first, second = map(read_all, periods)

    assert first.windows() & second.windows() == set()
    for period, capture in zip(periods, (first, second), strict=True):
        nonce = bytes.fromhex(period["nonce"])
        assert nonce in capture.windows()  # so what is compared does hold the announcements
        assert capture.questions
        assert capture.goodbyes


def test_two_periods_share_no_name_text_or_port(periods):
    """Instance name, host name, TXT data and TCP port of one period do not come back in the next."""
    first, second = map(read_all, periods)

    for field in ("hosts", "labels", "texts", "ports"):
        one, other = getattr(first, field), getattr(second, field)
        assert one, field
        assert one & other == set(), field
    assert len(first.hosts) == len(first.ports) == len(first.texts) == 1
    assert len(first.labels) == 2


@pytest.mark.parametrize("where", ["packet", "name"])
def test_the_comparison_would_see_a_leak(periods, where):
    """Eight bytes of the first period smuggled into the second are found."""
    first = read_all(periods[0])
    packet = max(map(bytes.fromhex, periods[1]["packets"]), key=len)
    host = next(iter(first.hosts))
    if where == "packet":
        start = packet.index(b"0=") + 40
        packet = packet[:start] + bytes.fromhex(periods[0]["nonce"]) + packet[start + 8 :]
    else:
        packet = packet.replace(next(iter(read_all(periods[1]).hosts)), host)
    assert first.windows() & read_all({"packets": [packet.hex()]}).windows()
