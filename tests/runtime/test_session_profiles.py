"""Session profiles beside the private one: who gets a link, what is told of a profile, and one that fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio
import attrs
import pytest
from anyio.abc import TaskStatus

from berty_core.config import NodeConfig
from berty_core.contracts.hookspecs import hookimpl
from berty_core.contracts.session import PeerView, ProfileHost, SessionProfile, SessionSpec
from berty_core.contracts.transport import Endpoint, Link, Probe, State
from berty_core.errors import EndOfStream, LinkLost, UserError
from berty_core.protocol.session import MAGIC
from berty_core.runtime.methods import Methods
from berty_core.runtime.node import Node
from berty_core.runtime.sessions.first_byte import SortedLink
from berty_core.testing.memory_pipe import Pipe
from berty_core.testing.memory_transport import MemoryLink, MemoryNetwork

from .nodes import befriend, has, node_on, plugins_on, until

pytestmark = pytest.mark.anyio
FIRST = b"\x13"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@attrs.frozen
class Settings:
    """What the profile below can be told: how often it fails before it runs."""

    failures: int = 0


class Echo:
    """A profile that answers each link with what came on it."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.got = b""
        self._links: list[Link] = []
        self._came = anyio.Event()

    async def run(self, host: ProfileHost, *, task_status: TaskStatus[None]) -> None:
        if self.failures:
            self.failures -= 1
            async with anyio.create_task_group():
                raise OSError("the port is taken")
        host.state(State.ACTIVE, ("for a test",))
        self._came = anyio.Event()
        task_status.started()
        while True:
            await self._came.wait()
            self._came = anyio.Event()
            while self._links:
                link = self._links.pop()
                data = await link.receive()
                self.got += data
                await link.send(data)

    def accept(self, link: Link) -> None:
        self._links.append(link)
        self._came.set()

    async def connect(self, address: str) -> str:
        if address != "there":
            raise UserError(f"{address} is no address of this profile")
        return "somebody"

    def peers(self) -> Sequence[PeerView]:
        return ()

    def addresses(self) -> Sequence[str]:
        return ("here",)


class EchoPlugin:
    """It brings the profile above."""

    name = "echo"
    config: type = Settings
    first_bytes = FIRST + bytes([MAGIC])  # the second one is not for it to have
    tested_on = ()

    def __init__(self) -> None:
        self.made: list[Echo] = []

    @hookimpl
    def berty_sessions(self) -> Sequence[SessionSpec]:
        return (self,)

    def probe(self, config: object) -> Probe:
        return Probe(True)

    def create(self, config: object) -> SessionProfile:
        assert isinstance(config, Settings)
        self.made.append(Echo(config.failures))
        return self.made[-1]


async def all_that_comes(link: Link) -> bytes:
    """Every byte until the other side ends the link."""
    received = b""
    try:
        while True:
            received += await link.receive()
    except (EndOfStream, LinkLost):
        return received


def pipes() -> tuple[MemoryLink, MemoryLink]:
    """Both ends of a link: the dialler's first."""
    there, back = Pipe(MemoryNetwork()), Pipe(MemoryNetwork())
    endpoint = Endpoint("memory", "1")
    return MemoryLink(endpoint, there, back, initiator=True), MemoryLink(endpoint, back, there, initiator=False)


async def test_a_link_goes_to_whom_its_first_byte_names(tmp_path: Path) -> None:
    """A link of the profile is answered by it, other bytes end the link, and our own nodes meet as ever."""
    network, plugin = MemoryNetwork(), EchoPlugin()
    plugins = plugins_on(network)
    plugins.hooks.register(plugin, "echo")
    config = NodeConfig(keyring=False)
    async with (
        Node.open(tmp_path / "Ann", name="Ann", config=config, plugins=plugins) as ann,
        node_on(network, tmp_path / "Bob") as bob,
    ):
        await befriend(bob, ann)
        await bob.send("Ann", "as ever")
        await has(ann, "Bob", "as ever")
        (profile,) = plugin.made
        assert profile.got == b""
        assert ann.connectivity is not None
        ours, theirs = pipes()
        ann.connectivity.accept(theirs)
        await ours.send(FIRST + b"/multi")
        with anyio.fail_after(5):
            assert await ours.receive() == profile.got == FIRST + b"/multi"
        await until(lambda: _alone(ann), "no session is left for it")
        assert ours.is_open
        ours, theirs = pipes()
        ann.connectivity.accept(theirs)
        await ours.send(b"GET / HTTP/1.0")
        with anyio.fail_after(5):
            assert await all_that_comes(ours) == b""
        assert profile.got == FIRST + b"/multi"


async def _alone(node: Node) -> bool:
    return len(node.sessions) == 1


async def test_a_link_has_one_user() -> None:
    """Once a link is another profile's, the private session can neither write on it nor close it."""
    ours, theirs = pipes()
    profile = Echo(0)
    sorted_link = SortedLink(theirs, lambda first: profile if first == FIRST[0] else None)
    await ours.send(FIRST)
    with pytest.raises(LinkLost, match="another session profile"):
        await sorted_link.receive()
    with pytest.raises(LinkLost):
        await sorted_link.send(b"no")
    await sorted_link.aclose()
    assert ours.is_open


async def test_only_the_first_byte_counts() -> None:
    """A link that has begun as a private one stays private."""
    ours, theirs = pipes()
    sorted_link = SortedLink(theirs, lambda first: Echo(0) if first == FIRST[0] else None)
    await ours.send(bytes([MAGIC]))
    assert await sorted_link.receive() == bytes([MAGIC])
    await ours.send(FIRST)
    assert await sorted_link.receive() == FIRST
    await sorted_link.aclose()
    assert not ours.is_open


async def test_a_profile_that_fails_starts_again_alone(tmp_path: Path) -> None:
    """Its reason is told meanwhile; then it runs, and can be asked to meet somebody."""
    plugin, plugins = EchoPlugin(), plugins_on(MemoryNetwork())
    plugins.hooks.register(plugin, "echo")
    config = NodeConfig(keyring=False, plugins={"echo": {"failures": 1}})
    async with Node.open(tmp_path / "Ann", name="Ann", config=config, plugins=plugins) as ann:
        methods = Methods(ann)

        async def shown() -> dict[str, object]:
            (view,) = (await methods.status())["session_profiles"]
            return dict(view)

        async def failed() -> bool:
            return (await shown())["reasons"] == ["OSError: the port is taken"]

        async def runs() -> bool:
            return (await shown())["state"] == "active"

        await until(failed, "the failure is told")
        with pytest.raises(UserError, match="echo is not ready"):
            await methods.peer_connect("there")
        await until(runs, "it runs")
        assert await shown() == {"name": "echo", "state": "active", "reasons": ["for a test"], "addresses": ["here"]}
        assert await methods.peer_connect("there") == {"id": "somebody", "session": "echo"}
        with pytest.raises(UserError, match="no address"):
            await methods.peer_connect("elsewhere")


async def test_without_a_profile_nobody_is_met_by_address(tmp_path: Path) -> None:
    """The error says what to install."""
    async with node_on(MemoryNetwork(), tmp_path / "Ann") as ann:
        with pytest.raises(UserError, match="berty-libp2p"):
            await Methods(ann).peer_connect("/ip4/127.0.0.1/tcp/1")
