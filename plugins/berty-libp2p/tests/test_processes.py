"""Two homes and nothing but libp2p between them, by the commands that a person types."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from berty_libp2p.config import has_quic

from berty_core.config import NodeConfig
from berty_core.runtime.node import create_home

PATIENCE = 30.0  # seconds that something may take on a busy machine
LIBP2P_ALONE = '[node]\nkeyring = false\ndisabled = ["mdns", "udp"]\n[plugins.libp2p]\nhost = "127.0.0.1"\n'
BOTH = "[node]\nkeyring = false\n[plugins.mdns]\nloopback = true\n"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sockets in a directory of our own."""
    runtime = tempfile.mkdtemp(prefix="berty-")
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    for name in ("BERTY_HOME", "BERTY_PASSPHRASE_FILE", "BERTY_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    yield
    shutil.rmtree(runtime)


def until(what: str, condition: Callable[[], object]) -> None:
    """Wait for what a process does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} within {PATIENCE:g} s"
        time.sleep(0.1)


@attrs.define(eq=False)
class Person:
    """A home, and its node as a process."""

    name: str
    home: Path
    process: subprocess.Popen[bytes] | None = None

    def berty(self, *words: str) -> Any:
        """What a command gives as JSON."""
        done = subprocess.run(self._line(*words, "--json"), capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout.splitlines()[0]) if done.stdout else None

    def refused(self, *words: str) -> str:
        """The words with which a command refuses."""
        done = subprocess.run(self._line(*words), capture_output=True, timeout=60, check=False)
        assert done.returncode == 1
        assert b"fault of the program" not in done.stderr
        return done.stderr.decode()

    def _line(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "berty_core", "--home", str(self.home), *words]

    def start(self) -> None:
        """Run the node until libp2p can be met."""
        with (self.home.parent / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(self._line("run", "-v"), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(f"{self.name}'s libp2p runs", self._is_up)

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None
        status = self.berty("status")
        return bool(status["network"]) and [one["state"] for one in status["session_profiles"]] == ["active"]

    def kill(self) -> None:
        """Take the node away without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def address(self, transport: str = "tcp") -> str:
        """Where it can be met by one transport."""
        (profile,) = self.berty("status")["session_profiles"]
        (address,) = (address for address in profile["addresses"] if f"/{transport}/" in address)
        return str(address)

    def texts(self, of: str) -> list[str]:
        """All texts of a conversation."""
        done = subprocess.run(self._line("read", of, "--json"), capture_output=True, timeout=60, check=False)
        return [view["text"] for line in done.stdout.splitlines() for view in _views(line)]

    def contacts(self) -> dict[str, str]:
        """Names and states."""
        done = subprocess.run(self._line("contact", "list", "--json"), capture_output=True, timeout=60, check=True)
        return {view["name"]: view["state"] for line in done.stdout.splitlines() for view in _views(line)}


def _views(line: bytes) -> list[dict[str, str]]:
    found = json.loads(line)
    return found if isinstance(found, list) else [found]


@pytest.fixture
def people(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Person, Person]]:
    """Ann and Bob, with the settings that the test asks for."""
    made = tuple(Person(name, tmp_path / name) for name in ("Ann", "Bob"))
    for one in made:
        create_home(one.home, one.name, config=NodeConfig(keyring=False))
        (one.home / "berty.toml").write_text(request.param)
    try:
        yield made[0], made[1]
    finally:
        for one in made:
            one.kill()


def become_contacts(one: Person, two: Person) -> None:
    """By the link of `one`."""
    two.berty("contact", "add", one.berty("contact", "link")["link"])
    until("the request arrives", lambda: one.contacts().get(two.name) == "received")
    one.berty("contact", "accept", two.name)
    until("it is accepted", lambda: two.contacts().get(one.name) == "added")


@pytest.mark.parametrize("transport", ["tcp", "quic-v1"])
@pytest.mark.parametrize("people", [LIBP2P_ALONE], indirect=True)
def test_from_a_link_to_a_group_and_through_a_restart(people: tuple[Person, Person], transport: str) -> None:
    """A request by link, texts both ways, a group, and a killed node that comes back: over libp2p alone."""
    if transport == "quic-v1" and not has_quic():
        pytest.skip("QUIC is an extra: pip install 'berty-libp2p[quic]'")
    ann, bob = people
    ann.start()
    bob.start()
    met = bob.berty("peer", "connect", ann.address(transport))
    assert ann.address().endswith(met["id"])
    become_contacts(ann, bob)
    ann.berty("send", "Bob", "hello Bob")
    bob.berty("send", "Ann", "hello Ann")
    both = {"hello Bob", "hello Ann"}
    until("both read both", lambda: set(ann.texts("Bob")) == set(bob.texts("Ann")) == both)
    ann.berty("group", "new", "club")
    bob.berty("group", "join", ann.berty("group", "invite", "club")["link"])
    bob.berty("send", "club", "I am in")
    until("the group is heard", lambda: ann.texts("club") == ["I am in"])
    (peer,) = ann.berty("peer", "list")
    assert (peer["name"], peer["session"], peer["agent"]) == ("Bob", "libp2p", "berty-python")
    assert f"/{transport}" in peer["address"]
    assert {group["name"] for group in peer["groups"]} == {"Bob", "club"}
    before = ann.address().rpartition("/")[2]
    ann.kill()
    bob.berty("send", "club", "while you are away")
    ann.start()
    assert ann.address().rpartition("/")[2] == before  # the key behind it is kept in the home
    ann.berty("peer", "connect", bob.address(transport))
    until("Ann catches up", lambda: ann.texts("club") == ["I am in", "while you are away"])


@pytest.mark.parametrize("people", [LIBP2P_ALONE], indirect=True)
def test_addresses_that_cannot_be_met(people: tuple[Person, Person]) -> None:
    """Each is refused in words: no address, none for TCP, our own, nobody there, another peer, an RSA peer."""
    ann, bob = people
    assert "no node runs here" in ann.refused("peer", "connect", "/ip4/127.0.0.1/tcp/1")
    ann.start()
    bob.start()
    place, _, name = bob.address().rpartition("/p2p/")
    own = ann.address().rpartition("/p2p/")[2]
    assert "begins with /" in ann.refused("peer", "connect", "localhost:4001")
    assert "only TCP and QUIC v1" in ann.refused("peer", "connect", f"/ip4/127.0.0.1/udp/4001/quic/p2p/{name}")
    nobody = ann.refused("peer", "connect", f"/ip4/127.0.0.1/udp/1/quic-v1/p2p/{name}")
    assert "cannot be reached" in nobody or "berty-libp2p[quic]" in nobody
    assert "this node itself" in ann.refused("peer", "connect", ann.address())
    assert "cannot be reached" in ann.refused("peer", "connect", f"/ip4/127.0.0.1/tcp/1/p2p/{name}")
    other = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"
    assert "was expected" in ann.refused("peer", "connect", f"{place}/p2p/{other}")
    rsa = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
    assert "RSA" in ann.refused("peer", "connect", f"{place}/p2p/{rsa}")
    assert own != name
    assert ann.berty("peer", "list") == []


@pytest.mark.parametrize("people", [BOTH], indirect=True)
def test_the_private_session_is_preferred(people: tuple[Person, Person]) -> None:
    """Where both profiles reach a device, the libp2p link ends, and what is said passes by the private session."""
    ann, bob = people
    ann.start()
    bob.start()
    become_contacts(ann, bob)
    bob.berty("peer", "connect", ann.address())
    ann.berty("send", "Bob", "hello")
    until("Bob reads it", lambda: bob.texts("Ann") == ["hello"])
    until("one session is left", lambda: [peer["session"] for peer in bob.berty("peer", "list")] == ["private"])
    time.sleep(5)
    assert [peer["session"] for peer in ann.berty("peer", "list")] == ["private"]
    bob.berty("send", "Ann", "hello back")
    until("Ann reads it", lambda: ann.texts("Bob") == ["hello", "hello back"])
