"""Three hosts on one bridge, each in a network namespace of its own, with no default route."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns
SCRIPT = Path(__file__).with_name("lan_host.py")


class Host:
    """A process in a namespace, with what it said so far."""

    def __init__(self, number: int, command: list[str]) -> None:
        self.nonce = bytes([number]) * 8
        self.process = subprocess.Popen(
            [*command, sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._said: queue.SimpleQueue[dict] = queue.SimpleQueue()
        self._kept: list[dict] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._said.put(json.loads(line))

    def tell(self, *command) -> None:
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def wait(self, kind: str | tuple[str, ...], within: float = 5.0, **fields):
        """The next event of this kind (or one of these) with these fields; others stay for later."""
        kinds = (kind,) if isinstance(kind, str) else kind
        deadline = time.monotonic() + within
        while True:
            for event in self._kept:
                if event["kind"] in kinds and fields.items() <= event.items():
                    self._kept.remove(event)
                    return event
            try:
                self._kept.append(self._said.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"no {kind} {fields} within {within} s, but {self._kept}") from None

    def forget(self) -> None:
        while not self._said.empty():
            self._said.get()
        self._kept.clear()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdin.close()
        self.process.stdout.close()


class Lan:
    """A namespace with a bridge, and three more plugged into it."""

    def __init__(self) -> None:
        self.holder = subprocess.Popen(
            ["unshare", "-Urn", "sh", "-c", "echo up; exec sleep 300"], stdout=subprocess.PIPE, text=True
        )
        assert self.holder.stdout.readline() == "up\n"
        self.enter = ["nsenter", "-t", str(self.holder.pid), "-U", "-n", "--preserve-credentials"]
        self.ip("link add br0 type bridge")
        self.ip("link set br0 up")
        self.hosts = [Host(number, [*self.enter, "unshare", "-n"]) for number in (1, 2, 3)]

    def plug(self, number: int) -> None:
        host = self.hosts[number - 1]
        host.wait("up", within=10)
        self.ip(f"link add port{number} type veth peer name eth0 netns {host.process.pid}")
        self.ip(f"link set port{number} master br0 up")
        self.within(number, "link set lo up")
        self.within(number, f"addr add 192.0.2.{number}/24 dev eth0")
        self.within(number, "link set eth0 up")

    def ip(self, arguments: str) -> None:
        subprocess.run([*self.enter, "ip", *arguments.split()], check=True)

    def within(self, number: int, arguments: str) -> None:
        target = ["-t", str(self.hosts[number - 1].process.pid), "-n"]
        subprocess.run([*self.enter, "nsenter", *target, "ip", *arguments.split()], check=True)

    def close(self) -> None:
        for host in self.hosts:
            host.end()
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


def reason_to_skip() -> str:
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return "unshare, nsenter and ip are needed"
    script = "ip link add br0 type bridge && ip link add port0 type veth peer name port1"
    tried = subprocess.run(["unshare", "-Urn", "sh", "-c", script], check=False, capture_output=True, text=True)
    return f"network namespaces are not permitted here: {tried.stderr.strip()}" if tried.returncode else ""


@pytest.fixture
def lan():
    reason = reason_to_skip()
    if reason:
        pytest.skip(reason)
    made = Lan()
    try:
        for number in (1, 2, 3):
            made.plug(number)
        yield made
    finally:
        made.close()


def start(host: Host) -> float:
    host.tell("start")
    host.tell("advertise", host.nonce.hex())
    host.wait("state", state="active")
    return host.wait("started")["at"]


def echo(host: Host, address: str, fits=lambda ips: True, within: float = 15.0) -> list[str]:
    """Dial until a mebibyte comes back, exactly, from a peer whose known IP addresses fit.

    While an address changes a dial may fail, with LinkLost.
    """
    deadline = time.monotonic() + within
    while True:
        host.tell("dial", address, 1 << 20)
        done = host.wait(("dialled", "failed"), within=15)
        ips = [ip for ip, _ in done["targets"]]
        if done["kind"] == "dialled":
            assert done["exact"]
            if fits(ips):
                return ips
        assert time.monotonic() < deadline, done
        time.sleep(0.2)


def test_three_hosts_through_a_day(lan, record_property):
    """Three hosts find each other and talk, through an interface that goes and comes, a new address, and a goodbye."""
    one, two, three = lan.hosts

    # All see all within a second of the later start.
    started = {host.nonce: start(host) for host in lan.hosts}
    addresses, took = {}, []
    for host in lan.hosts:
        for other in lan.hosts:
            if other is not host:
                event = host.wait("found", nonce=other.nonce.hex(), within=1.5)
                addresses.setdefault(other, set()).add(event["address"])
                took.append(event["at"] - max(started[host.nonce], started[other.nonce]))
    record_property("found_within", max(took))
    assert max(took) < 1.0
    assert all(len(names) == 1 for names in addresses.values())
    name = {host: names.pop() for host, names in addresses.items()}
    assert "192.0.2.2" in echo(one, name[two])

    # An interface goes down: that host says so and loses all; it comes up: it finds all and can be reached.
    lan.within(3, "link set eth0 down")
    assert three.wait("state", state="unavailable")["reasons"] == ["no network interface that is up"]
    three.wait("lost", address=name[one])
    three.wait("lost", address=name[two])
    lan.within(3, "link set eth0 up")
    back = time.monotonic()
    three.wait("found", address=name[one])
    three.wait("found", address=name[two])
    record_property("found_again_after", time.monotonic() - back)
    echo(one, name[three])

    # An address changes: the name stays, and the new address is dialled.
    lan.within(2, "addr del 192.0.2.2/24 dev eth0")
    lan.within(2, "addr add 192.0.2.22/24 dev eth0")
    echo(one, name[two], lambda ips: "192.0.2.22" in ips)

    # Only IPv6 link-local addresses are left on one host.
    lan.within(3, "addr flush dev eth0 scope global")
    echo(three, name[one], lambda ips: ips and all(":" in ip for ip in ips))

    # A goodbye is seen at once.
    one.forget()
    at = time.monotonic()
    two.tell("end")
    lost = one.wait("lost", address=name[two], within=2)
    record_property("lost_after", lost["at"] - at)
    assert lost["at"] - at < 0.5
    assert two.process.wait(timeout=5) == 0


def test_a_cut_that_nobody_notices_heals(lan):
    """A cable pulled behind the switch leaves both interfaces up; after it is back, links work again."""
    one, two, _ = lan.hosts
    for host in (one, two):
        start(host)
    address = one.wait("found", nonce=two.nonce.hex())["address"]
    lan.ip("link set port2 nomaster")
    one.tell("dial", address, 1024)
    time.sleep(1)
    lan.ip("link set port2 master br0")
    one.wait("dialled", within=9)
