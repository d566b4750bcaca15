"""Where the devices of these tests live: on one loopback interface, or as hosts on one bridge, a namespace each.

A scenario is written once for both. Nothing here waits for a time to pass: `until` waits for a condition.
"""

from __future__ import annotations

import itertools
import json
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

DEVICE = Path(__file__).with_name("device.py")
RELAY = Path(__file__).with_name("relay.py")
PATIENCE = 30.0  # seconds; machines are noisy
T = TypeVar("T")


class DeviceError(Exception):
    """What a device answered in place of a result: the kind of error, and its words."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(f"{kind}: {words}")
        self.kind = kind
        self.words = words


def until(condition: Callable[[], T], what: str = "", within: float = PATIENCE) -> T:
    """Ask until the condition is true; its value."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what or 'the condition'}; it was {value!r}")
        time.sleep(0.03)  # between two questions, so that those who answer can get on
    return value


class Device:
    """A home, and the process that has it open, if one has."""

    def __init__(self, lab: Lab, name: str, host: int, home: Path) -> None:
        self.lab = lab
        self.name = name
        self.host = host
        self.home = home
        self.options: dict[str, Any] = {}
        self.around: list[str] = []  # a command that gives the process its surroundings, besides its host's
        self.notices: list[str] = []
        self.said: list[dict[str, Any]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._news = threading.Condition()
        self._numbers = itertools.count(1)
        self._runs = 0
        self._log_directory = home.parent  # not on the disk of the home, if that is a small one

    # -- life ----------------------------------------------------------------------------------

    def start(self, **options: Any) -> Device:
        """Open the home; the options stay until they are given anew."""
        self.options = {**self.options, **options}
        self._spawn()
        line = self._await_line(lambda said: "up" in said or "failed" in said, "to be up")
        if "failed" in line:
            self._end()
            raise DeviceError(*line["failed"])
        self.notices = line["notices"]
        return self

    def _spawn(self) -> None:
        assert self._process is None
        self._runs += 1
        self.said = []
        given = {"home": str(self.home), "name": self.name, "transports": self.lab.transports}
        given |= {"disabled": self.lab.disabled, **self.options}
        command = [*self.lab.enter(self.host), *self.around, sys.executable, str(DEVICE), json.dumps(given)]
        with self._log_file(self._runs).open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self._reader = threading.Thread(target=self._read, args=[self._process, self.said], daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[bytes], said: list[dict[str, Any]]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.endswith(b"\n"):
                break  # killed while it spoke
            with self._news:
                said.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            said.append({"gone": True})
            self._news.notify_all()

    def kill(self) -> None:
        """End the process as a power cut would: kill -9."""
        assert self._process is not None
        self._process.kill()
        self._end()

    def stop(self) -> None:
        """End the process with SIGTERM, and see that it goes in good order."""
        assert self._process is not None
        self._process.terminate()
        assert self._process.wait(timeout=PATIENCE) == 0, f"{self.name} ended badly"
        self._end()

    def restart(self, **options: Any) -> Device:
        """Stop and start."""
        self.stop()
        return self.start(**options)

    def close(self) -> None:
        """End whatever runs."""
        if self._process is not None:
            self._process.kill()
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        assert process is not None and self._reader is not None and process.stdin and process.stdout
        process.wait()
        self._reader.join()
        process.stdout.close()
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass

    # -- talk ----------------------------------------------------------------------------------

    def ask(self, request: str, **arguments: Any) -> Any:
        """Ask for something and wait for the answer; DeviceError if it is an error."""
        return self.answer(self.begin(request, **arguments))

    def begin(self, request: str, **arguments: Any) -> int:
        """Ask for something; the number of the request."""
        number = next(self._numbers)
        assert self._process is not None and self._process.stdin is not None, f"{self.name} does not run"
        line = json.dumps({"id": number, "do": request, "with": arguments})
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        return number

    def answer(self, number: int) -> Any:
        """The answer to a request; DeviceError if it is an error."""
        line = self._await_line(lambda said: said.get("id") == number, f"to answer request {number}")
        if "error" in line:
            raise DeviceError(*line["error"])
        return line["result"]

    def _await_line(self, fits: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        seen, deadline = 0, time.monotonic() + 2 * PATIENCE
        with self._news:
            while True:
                fresh, seen = self.said[seen:], len(self.said)
                for line in fresh:
                    if fits(line):
                        return line
                    if "gone" in line:
                        raise AssertionError(f"{self.name} was {what} and is gone")
                if not self._news.wait(deadline - time.monotonic()):
                    raise AssertionError(f"{self.name} was {what}, and did not within {2 * PATIENCE:g} s")

    def read(self, action: str, *arguments: Any) -> Any:
        """Call an action that changes nothing."""
        return self.ask("read", name=action, arguments=arguments)

    def write(self, action: str, *arguments: Any) -> Any:
        """Call an action that changes something."""
        return self.ask("write", name=action, arguments=arguments)

    def send(self, to: str, text: str) -> str:
        """Send a text; its id."""
        return str(self.write("send_text", to, text)["id"])

    def texts(self, to: str) -> list[str]:
        """All texts of a conversation that can be read here, in the log's order."""
        return [message["text"] for message in self.read("read", to, 0, False) if message["kind"] == "text"]

    def sent(self) -> list[str]:
        """The ids that `pour` confirmed since the start of the process."""
        with self._news:
            return [line["sent"] for line in self.said if "sent" in line]

    # -- logs ----------------------------------------------------------------------------------

    def _log_file(self, run: int) -> Path:
        return self._log_directory / f"{self.home.name}.{run}.log"

    def log(self, most: int = 6000) -> str:
        """The end of what each of its processes logged and said."""
        parts = []
        for run in range(1, self._runs + 1):
            text = self._log_file(run).read_text(errors="replace")
            parts.append(f"-- {self.name}, process {run}\n{text[-most:]}")
        shown = [line for line in self.said if "sent" not in line][-12:]
        parts.append("\n".join(f"-- said: {json.dumps(line)[:600]}" for line in shown))
        return "\n".join(parts)


class Lab:
    """All devices on the loopback interface of this machine."""

    kind = "loopback"
    transports: dict[str, Any] = {"mdns": {"loopback": True}}  # noqa: RUF012  never changed
    disabled: tuple[str, ...] = ("libp2p", "udp")

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.devices: list[Device] = []
        self._programs: list[subprocess.Popen[Any]] = []

    def device(self, name: str, *, home: Path | None = None, like: Device | None = None) -> Device:
        """A device on a host of its own, not started yet; `like`: on the host of another one."""
        number = len(self.devices) + 1
        host = like.host if like else self.plug()
        made = Device(self, name, host, home or self.directory / f"{number}-{name.lower()}")
        self.devices.append(made)
        return made

    def start(self, *names: str) -> list[Device]:
        """Devices with fresh accounts, up."""
        devices = [self.device(name) for name in names]
        for device in devices:
            device._spawn()  # all at once
        for device in devices:
            device._await_line(lambda said: "up" in said, "to be up")
        return devices

    def run(self, host: int, *command: str) -> subprocess.Popen[str]:
        """Another program on a host; it is killed at the end if it still runs."""
        program = subprocess.Popen(
            [*self.enter(host), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._programs.append(program)
        return program

    def close(self) -> None:
        """End everything."""
        for device in self.devices:
            device.close()
        for program in self._programs:
            program.kill()
            program.communicate()

    def log(self) -> str:
        """What all devices logged."""
        return "\n".join(device.log() for device in self.devices)

    # -- what differs --------------------------------------------------------------------------

    def plug(self) -> int:
        """Another host; its number."""
        return 0

    def enter(self, host: int) -> list[str]:
        """The command that runs a program on a host."""
        return []

    def address(self, device: Device) -> str:
        """Where a device can be reached."""
        return "127.0.0.1"

    def cut(self, device: Device) -> None:
        """Let a device reach nobody. One machine cannot be cut off from itself: the device runs without network."""
        device.restart(network=False)

    def join(self, device: Device) -> None:
        """Let a device reach the others again."""
        device.restart(network=True)

    def move(self, device: Device) -> None:
        """Give a device another address: here another port, and nobody is told that the old one is gone."""
        device.kill()
        device.start()


class Bridge(Lab):
    """Hosts in network namespaces on one bridge, with no route to anywhere else."""

    kind = "bridge"
    transports: dict[str, Any] = {}  # noqa: RUF012  never changed

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._hosts: list[subprocess.Popen[str]] = []
        self._addresses: dict[int, str] = {}
        self._holder = _hold([*(namespaces() or []), "sh", "-c", "echo up; exec cat"])
        self._enter = ["nsenter", "-t", str(self._holder.pid), *_ENTER[bool(namespaces_of_users())], "-n"]
        self._ip("link add br0 type bridge")
        self._ip("link set br0 up")

    def plug(self) -> int:
        number = self._add_host()
        self._connect(number)
        self._within(number, "link set lo up")
        self._within(number, f"addr add 192.0.2.{number}/24 dev eth0")
        self._within(number, "link set eth0 up")
        self._addresses[number] = f"192.0.2.{number}"
        return number

    def _add_host(self) -> int:
        number = len(self._hosts) + 1
        # no waiting for other hosts that might have the same IPv6 address
        script = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; echo up; exec cat"
        self._hosts.append(_hold([*self._enter, "unshare", "-n", "sh", "-c", script]))
        return number

    def _connect(self, number: int) -> None:
        self._ip(f"link add port{number} type veth peer name eth0 netns {self._hosts[-1].pid}")
        self._ip(f"link set port{number} master br0 up")

    def enter(self, host: int) -> list[str]:
        return [*self._enter, "nsenter", "-t", str(self._hosts[host - 1].pid), "-n"]

    def address(self, device: Device) -> str:
        return self._addresses[device.host]

    def cut(self, device: Device) -> None:
        """Pull the cable out of the bridge: the host sees its link go down."""
        self._ip(f"link set port{device.host} down")

    def cut_unnoticed(self, device: Device) -> None:
        """Pull a cable behind the bridge: no host sees anything."""
        self._ip(f"link set port{device.host} nomaster")

    def join(self, device: Device) -> None:
        self._ip(f"link set port{device.host} master br0 up")

    def move(self, device: Device) -> None:
        """Change the address of a host that goes on running."""
        new = f"192.0.2.{100 + device.host}"
        self._within(device.host, f"addr del {self._addresses[device.host]}/24 dev eth0")
        self._within(device.host, f"addr add {new}/24 dev eth0")
        self._addresses[device.host] = new

    def lay_cable(self, one: Device, other: Device) -> list[str]:
        """Join two hosts by a wire of their own; the addresses of its ends."""
        pids = [self._hosts[device.host - 1].pid for device in (one, other)]
        self._ip(f"link add name eth1 netns {pids[0]} type veth peer name eth1 netns {pids[1]}")
        addresses = ["198.51.100.1", "198.51.100.2"]
        for device, address in zip((one, other), addresses, strict=True):
            self._within(device.host, f"addr add {address}/24 dev eth1")
            self._within(device.host, "link set eth1 up")
        return addresses

    def only_ipv6(self) -> None:
        """Leave link-local IPv6 addresses alone, on all hosts."""
        for number in range(1, len(self._hosts) + 1):
            self._within(number, "addr flush dev eth0 scope global")

    def close(self) -> None:
        super().close()
        for held in (*self._hosts, self._holder):
            held.communicate()  # the end of its input ends it

    def _ip(self, arguments: str) -> None:
        subprocess.run([*self._enter, "ip", *shlex.split(arguments)], check=True)

    def _within(self, number: int, arguments: str) -> None:
        subprocess.run([*self.enter(number), "ip", *shlex.split(arguments)], check=True)


class LossyHub(Bridge):
    """Hosts in network namespaces on one hub that loses, repeats and reorders what they send (`relay.py`)."""

    kind = "lossy hub"
    disabled = ("libp2p", "mdns")

    def __init__(self, directory: Path, *, ports: int = 3, mtu: int = 233, **settings: float) -> None:
        super().__init__(directory)
        self.transports = {"udp": {"mtu": mtu}}
        relay = [sys.executable, str(RELAY), str(ports), json.dumps({"mtu": mtu, **settings})]
        self._relay = _hold([*self._enter, *relay])

    def _connect(self, number: int) -> None:
        self._ip(f"link set tap{number} netns {self._hosts[number - 1].pid} name eth0")

    def set(self, **settings: object) -> dict[str, int]:
        """Change how bad the hub is; what it has counted so far."""
        assert self._relay.stdin is not None and self._relay.stdout is not None
        self._relay.stdin.write(json.dumps(settings) + "\n")
        self._relay.stdin.flush()
        return dict(json.loads(self._relay.stdout.readline()))

    def cut(self, device: Device) -> None:
        """Let nothing pass to and from a host, which sees nothing of that."""
        self.set(cut=[device.host])

    def join(self, device: Device) -> None:
        self.set(cut=[])

    def close(self) -> None:
        self._relay.communicate()
        super().close()


_ENTER = {True: ["-U", "--preserve-credentials"], False: []}


def _hold(command: list[str]) -> subprocess.Popen[str]:
    """Start what keeps a namespace alive until its input ends."""
    held = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert held.stdout is not None
    assert held.stdout.readline() == "up\n", f"{shlex.join(command)} did not work"
    return held


@cache
def _tried(command: tuple[str, ...], script: str) -> str:
    """Why a command of namespaces does not work here; empty if it does."""
    done = subprocess.run([*command, "sh", "-c", script], check=False, capture_output=True, text=True)
    return (done.stderr.strip() or f"exit code {done.returncode}") if done.returncode else ""


_PROBE = "ip link add br0 type bridge && ip link add port0 type veth peer name port1"


def reason_to_skip() -> str:
    """Why there can be no hosts in namespaces here; empty if there can."""
    missing = [tool for tool in ("unshare", "nsenter", "ip") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if namespaces() is None:
        return f"network namespaces are not permitted here: {_tried(('unshare', '-Urn'), _PROBE)}"
    return ""


def reason_to_skip_hubs() -> str:
    """Why there can be no TAP devices here; empty if there can."""
    return reason_to_skip() or _tried(tuple(namespaces() or ()), "ip tuntap add dev tap0 mode tap")


def namespaces() -> list[str] | None:
    """The command that gives a network namespace: as any user where that is permitted, else as root."""
    return next((list(c) for c in (("unshare", "-Urn"), ("unshare", "-n")) if not _tried(c, _PROBE)), None)


def namespaces_of_users() -> bool:
    """Whether the namespaces are those of a user, in a user namespace."""
    return namespaces() == ["unshare", "-Urn"]


# -- what scenarios have in common ----------------------------------------------------------------


def befriend(owner: Device, asker: Device) -> None:
    """Make two accounts contacts, by the link of one of them."""
    asker.write("contact_add", owner.write("contact_link")["link"])
    until(lambda: state_of(owner, asker.name) == "received", f"{owner.name} has the request of {asker.name}")
    owner.write("contact_accept", asker.name)
    for one, other in ((owner, asker), (asker, owner)):
        until(lambda one=one, other=other: state_of(one, other.name) == "added", f"{one.name} has {other.name}")  # type: ignore[misc]


def state_of(device: Device, contact: str) -> str | None:
    """The state of a contact, by its local name."""
    return next((c["state"] for c in device.read("contact_list") if c["name"] == contact), None)


def gather(owner: Device, *others: Device, name: str = "trip") -> None:
    """Make a group, invite contacts, and let them join."""
    owner.write("group_new", name)
    for other in others:
        owner.write("group_invite", name, other.name)
        until(lambda other=other: other.read("group_invitations"), f"{other.name} is invited")  # type: ignore[misc]
        other.write("group_join", name)
    everyone = (owner, *others)
    until(lambda: {members(device, name) for device in everyone} == {len(everyone)}, f"all members of {name} known")


def members(device: Device, group: str) -> int:
    """How many members of a group a device knows."""
    return int(device.read("group_show", group)["members"])


def has_texts(device: Device, to: str, count: int) -> None:
    """Wait until a device can read so many texts."""
    found = 0

    def all_there() -> bool:
        nonlocal found
        found = len(device.texts(to))
        return found == count

    try:
        until(all_there)
    except AssertionError as error:
        shown = device.read("group_show", to)
        raise AssertionError(f"{device.name} has {found} of {count} texts of {to}: {shown}") from error


def in_step(devices: Iterable[Device], group: str, within: float = PATIENCE) -> dict[str, Any]:
    """Wait until replicas hold the same; their common digest. Then their order of messages is one and the same."""
    devices = list(devices)

    def equal() -> dict[str, Any] | None:
        digests = [device.ask("digest", to=group) for device in devices]
        last.update(zip([device.name for device in devices], digests, strict=True))
        return digests[0] if all(digest == digests[0] for digest in digests) else None

    last: dict[str, Any] = {}
    try:
        digest = until(equal, within=within)
    except AssertionError as error:
        raise AssertionError(f"replicas of {group} differ: {json.dumps(last, indent=1)}") from error
    if group:
        orders = {tuple(device.read("message_ids", group)) for device in devices}
        assert len(orders) == 1, "the order of the log differs"
    return digest


def assert_each_once(device: Device, to: str, expected: Iterable[str]) -> None:
    """Every expected message can be read once, and arrived once."""
    shown = [message["id"] for message in device.read("read", to, 0, False)]
    arrived = device.ask("arrivals")
    assert len(shown) == len(set(shown))
    assert len(arrived) == len(set(arrived)), "a message arrived twice"
    lost = set(expected) - set(shown)
    assert not lost, f"{device.name} cannot read {len(lost)} of {len(shown) + len(lost)}"
    assert set(expected) <= set(arrived)
