"""What is known of the surroundings: from the kernel, from files, from plugins, and what follows from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import attrs
import pytest
from anyio.abc import TaskStatus
from hypothesis import given
from hypothesis import strategies as st

from berty_core.config import NodeConfig
from berty_core.contracts.traits import Network
from berty_core.protocol.ranking import Policy
from berty_core.runtime.decisions import Decisions
from berty_core.runtime.node import Node
from berty_core.runtime.surroundings.network_watch import NetworkWatch, merged, own_watcher
from berty_core.runtime.surroundings.surroundings import Surroundings
from berty_core.testing.memory_transport import MemoryNetwork
from berty_core.testing.network import FakeSurroundings

from .nodes import plugins_on, said, until

linux = pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is Linux's")
if sys.platform == "linux":
    from berty_core.runtime.surroundings import netlink

SCRIPT = """
import anyio, json, subprocess, sys
from berty_core.runtime.surroundings.netlink import NetlinkWatcher
async def main():
    send, told = anyio.create_memory_object_stream(100)
    async with anyio.create_task_group() as tasks:
        await tasks.start(NetlinkWatcher().watch, send.send_nowait)
        async def until(condition):
            with anyio.fail_after(10):
                while not condition(await told.receive()):
                    pass
        first = await told.receive()
        assert first.online == "no" and first.kind == "none", first
        def ip(*words): subprocess.run(["ip", *words], check=True)
        ip("link", "add", "one", "type", "veth", "peer", "name", "two")
        ip("addr", "add", "192.0.2.1/24", "dev", "one")
        ip("link", "set", "one", "up")
        ip("link", "set", "two", "up")
        await until(lambda network: network.online == "yes" and "one" in network.interfaces)
        ip("link", "set", "two", "down")
        await until(lambda network: network.online == "no" and not network.interfaces)
        tasks.cancel_scope.cancel()
anyio.run(main)
"""


@linux
@pytest.mark.netns
def test_the_kernel_tells_of_changes() -> None:
    """In a namespace of its own: an address that comes, and a carrier that goes."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urn", "true"], check=False).returncode:
        pytest.skip("network namespaces are not permitted here")
    subprocess.run(["unshare", "-Urn", sys.executable, "-c", SCRIPT], check=True, timeout=60)


@linux
def test_what_there_is_here() -> None:
    """Where this machine has an interface with an address it is online, and loopback alone is none."""
    network = netlink.NetlinkWatcher().look()
    assert network.online == ("yes" if network.interfaces else "no")
    assert "lo" not in network.interfaces


@linux
@given(st.binary(max_size=300))
def test_any_message_is_read_with_bounds(data: bytes) -> None:
    """Whatever comes, there is an interface or none."""
    for kind, body in [*netlink.messages(data), (netlink.NEW_LINK, data)]:
        found = netlink.interface_in(kind, body)
        assert found is None or found.name
        assert all(index >= 0 for index in netlink.addressed_interfaces([(kind, body)]))


@linux
def test_kinds_and_battery_from_files(tmp_path: Path) -> None:
    """What sysfs says of interfaces and power supplies; a mouse is no battery of the device."""

    def write(place: str, text: str) -> None:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text + "\n")

    watcher = netlink.NetlinkWatcher(tmp_path)
    assert watcher.kind([]) == "none"
    assert watcher.kind(["gone0"]) == "unknown"
    assert watcher.power() == ("unknown", None)
    write("net/eth0/type", "1")
    write("net/wlan0/type", "1")
    write("net/wlan0/wireless/link", "0")
    write("net/wwan0/uevent", "INTERFACE=wwan0\nDEVTYPE=wwan")
    kinds = [watcher.kind([name]) for name in ("eth0", "wlan0", "wwan0")]
    assert kinds == ["ethernet", "wifi", "cellular"]
    assert watcher.kind(["wlan0", "wwan0"]) == "wifi"
    for supply, values in (
        ("AC", {"type": "Mains", "online": "1"}),
        ("BAT0", {"type": "Battery", "capacity": "42", "status": "Discharging"}),
        ("A-mouse", {"type": "Battery", "scope": "Device", "capacity": "7"}),
    ):
        for name, value in values.items():
            write(f"power_supply/{supply}/{name}", value)
    assert watcher.power() == ("no", 0.42)
    write("power_supply/BAT0/status", "Charging")
    assert watcher.power() == ("yes", 0.42)


def test_each_fact_from_the_first_who_knows_it() -> None:
    """What one does not know, another may; foreground is nobody's but the node's."""
    first = Network(metered="yes", foreground=False)
    second = Network(metered="no", online="yes", battery=0.5)
    assert merged([first, second], True) == Network(metered="yes", online="yes", battery=0.5)
    assert merged([], False) == Network(foreground=False)


class Failing:
    """A watcher that fails in this way, having told something before."""

    name = "failing"

    def __init__(self, told: object, error: Exception | None) -> None:
        self.told, self.error = told, error

    async def watch(self, tell: Callable[[Network], None], *, task_status: TaskStatus[None]) -> None:
        """Fail."""
        tell(self.told)  # type: ignore[arg-type]
        if self.error:
            raise self.error


@pytest.mark.anyio
async def test_changes() -> None:
    """Only what is another network is told; who was slow gets the newest only."""
    surroundings = Surroundings()
    async with surroundings.changes() as changes:
        surroundings.change(Network(battery=0.9))
        assert await changes.receive() == Network(battery=0.9)
        surroundings.change(Network(battery=0.9))
        with pytest.raises(anyio.WouldBlock):
            changes.receive_nowait()  # type: ignore[attr-defined]
        surroundings.change(Network(battery=0.8))
        surroundings.change(Network(battery=0.7))
        assert await changes.receive() == Network(battery=0.7) == surroundings.network
        with pytest.raises(anyio.WouldBlock):
            changes.receive_nowait()  # type: ignore[attr-defined]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("told", "error", "words"),
    [
        (Network(metered="yes"), OSError("no bus"), "failed (OSError: no bus)"),
        (Network(metered="yes"), None, "failed (it ended by itself)"),
        ("metered", None, "it told str, not a Network"),
    ],
)
async def test_a_watcher_that_fails(told: object, error: Exception | None, words: str) -> None:
    """It is named, what it knew counts no longer, and the others go on."""
    surroundings, decisions = Surroundings(), Decisions()
    fake = FakeSurroundings(Network(online="yes"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(NetworkWatch([Failing(told, error), fake], surroundings, decisions).run)

        async def settled() -> bool:
            return any(words in one.words and "failing" in one.words for one in decisions)

        await until(settled, words)
        assert surroundings.network == Network(online="yes")
        fake.tell(Network(online="no"))
        assert surroundings.network == Network(online="no")
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_battery_and_cost_decide_what_runs(tmp_path: Path) -> None:
    """A plugin's facts go before the machine's: with a low battery a transport rests, on the charger it runs."""
    fake = FakeSurroundings(Network(battery=0.9, charging="no"))
    plugins = plugins_on(MemoryNetwork())
    plugins.hooks.register(fake, "fake")
    config = NodeConfig(keyring=False, transports={"memory": Policy(min_battery=0.3)})
    async with Node.open(tmp_path / "Ann", name="Ann", config=config, plugins=plugins) as ann:
        assert ann.connectivity is not None
        (memory,) = ann.connectivity.transports

        async def is_said(state: str) -> bool:
            return memory.state.value == state

        await until(lambda: is_said("active"), "it runs")
        fake.tell(Network(battery=0.2, charging="no"))
        await until(lambda: is_said("paused"), "it rests")
        assert memory.reasons == ("the battery is at 20%, and it needs 30% (min_battery)",)
        await until(lambda: said(ann, "the battery is at 20%"), "it is told")
        fake.tell(Network(battery=0.2, charging="yes"))
        await until(lambda: is_said("active"), "it runs again")
        assert attrs.evolve(ann.connectivity.surroundings.network, interfaces=frozenset()).battery == 0.2


def test_there_is_a_watcher_for_this_system() -> None:
    """The core brings one."""
    assert own_watcher().name in ("linux", "polling")
