"""Commands as processes: sockets, signals, pipes and terminals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from berty_core.cli import reach
from berty_core.protocol.payloads import GroupInvitation
from berty_core.runtime.control_socket import NodeEnded
from berty_core.runtime.lock import home_lock
from berty_core.runtime.node import Node

from .conftest import NO_KEYRING, Home, Running, end, until
from .terminal import Terminal
from .test_bad_input import false_group_link
from .test_commands import People, has_shape, people

__all__ = ["people"]  # a fixture that is used here, too
Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start processes that end with the test."""
    running: list[Running] = []

    def one(home: Home, *words: str, **options: object) -> Running:
        running.append(home.start(*words, **options))
        return running[-1]

    yield one
    for process in running:
        end(process)


def serves(home: Home) -> bool:
    """Whether somebody has the home open and can be asked."""
    return (home.path / "socket").exists()


def left(process: Running) -> tuple[int, str, str]:
    """How a process ended: its exit code and what it printed."""
    out, err = process.communicate(timeout=20)
    return process.returncode, out.decode(), err.decode()


# -- one process for one home ------------------------------------------------------------------


def test_the_socket_is_private(people: People) -> None:
    """It lies in the user's runtime directory, for this user alone, and the home names it."""
    ann, _ = people
    place = ann.path / "socket"
    path = Path(place.read_text())
    assert path.parent == Path(os.environ["XDG_RUNTIME_DIR"]) / "berty"
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent, place)] == [0o600, 0o700, 0o600]


def test_a_second_node_is_refused(people: People) -> None:
    """Two processes on one home: the second says who has it and how to end it, with exit code 75."""
    ann, _ = people
    pid = ann.berty("status", "--json").data["pid"]
    second = ann.berty("run")
    assert second.code == 75
    assert f"a node runs in {ann.path} already (process {pid}): `berty stop`" in second.err


def test_stop_and_signals_end_a_node(ann: Home, start: Start) -> None:
    """`berty stop`, SIGTERM and Ctrl-C all end it in good order: exit code 0, and no socket is left."""
    for ending in ("stop", signal.SIGTERM, signal.SIGINT):
        node = start(ann, "run")
        assert node.stdout is not None
        assert node.stdout.readline().startswith(b"Ann takes part")
        socket = Path((ann.path / "socket").read_text())
        if isinstance(ending, str):
            assert ann.berty("stop").out == "The node has ended.\n"
        else:
            node.send_signal(ending)
        assert left(node) == (0, "", "")
        assert not socket.exists()
        assert not serves(ann)


def test_a_killed_node_leaves_nothing_in_the_way(ann: Home, start: Start) -> None:
    """After kill -9 its socket is still there; commands pass it by, and the next node takes it over."""
    killed = start(ann, "run")
    until(lambda: serves(ann))
    killed.kill()
    killed.wait()
    socket = Path((ann.path / "socket").read_text())
    assert socket.exists()
    assert "does not run" in ann.berty("status").out
    killed = start(ann, "run")
    until(lambda: serves(ann))
    killed.kill()
    killed.wait()
    start(ann, "run")
    until(lambda: "runs (process" in ann.berty("status").out)
    assert ann.berty("stop").code == 0


def test_a_node_waits_for_a_short_command(ann: Home, start: Start) -> None:
    """One that starts while `sync` has the home takes over when it ends; meanwhile `sync` answers other commands."""
    start(ann, "sync", "--whole-time", "--timeout", "1.5")
    until(lambda: serves(ann))
    node = start(ann, "run")
    assert ann.berty("account", "show", "--json").data["name"] == "Ann"
    assert node.stdout is not None
    assert node.stdout.readline().startswith(b"Ann takes part")
    assert ann.berty("status", "--json").data["pid"] == node.pid


def test_a_command_waits_for_the_home(ann: Home) -> None:
    """One that finds the home taken, with nobody to ask, goes on as soon as it is free."""
    taken, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with home_lock(ann.path):
            taken.set()
            leave.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(20)
    threading.Timer(0.3, leave.set).start()
    began = time.monotonic()
    assert ann.berty("account", "show").code == 0
    assert time.monotonic() - began >= 0.25
    holder.join()


def test_a_command_does_not_wait_for_ever(ann: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its patience it says so, with exit code 75; the default is ten seconds."""
    assert reach.PATIENCE == 10
    monkeypatch.setattr(reach, "PATIENCE", 0.2)
    with home_lock(ann.path):
        answer = ann.berty("send", "Bob", "hi")
    assert answer.code == 75
    assert f"another process has the home {ann.path} open" in answer.err


# -- signals, pipes and devices ----------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("opened", ["socket", "berty.sqlite3-wal"], ids=["once it serves", "while it opens"])
def test_a_command_is_interrupted(ann: Home, start: Start, opened: str, number: int, code: int) -> None:
    """With a node of its own it closes the home first, also where it was just opening it; no traceback, no hanging."""
    tail = start(ann, "tail")
    until((ann.path / opened).exists)
    tail.send_signal(number)
    assert left(tail) == (code, "", "interrupted\n" if code == 130 else "")
    assert not serves(ann)


INTERRUPTED_START = """
import signal, sys
import anyio.from_thread

class Interrupted(anyio.from_thread.Future):
    def result(self, timeout=None):
        signal.raise_signal(signal.SIGINT)
        return super().result(timeout)

anyio.from_thread.Future = Interrupted
from berty_core.cli.main import main
main(sys.argv[1:])
"""


def test_an_interrupt_does_not_hang(ann: Home) -> None:
    """Ctrl-C just when the node's thread begins waits until the home is open, and then closes it again."""
    command = [sys.executable, "-c", INTERRUPTED_START, "--home", str(ann.path), "account", "show"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
    assert not serves(ann)


def test_a_command_whose_node_is_stopped(ann: Home, start: Start) -> None:
    """`berty stop` ends the node of another command, too; that one says so instead of waiting for ever."""
    tail = start(ann, "tail")
    until(lambda: serves(ann))
    assert ann.berty("stop").code == 0
    ended, _, err = left(tail)
    assert (ended, err) == (75, "berty: the node has ended\n")


def test_whoever_reads_has_enough(ann: Home, start: Start) -> None:
    """A closed pipe is no error and gives no words."""
    ann.berty("group", "new", "Diary")
    reader, writer = os.pipe()
    os.close(reader)
    process = start(ann, "group", "list", stdout=writer)
    os.close(writer)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_the_output_is_full(ann: Home, start: Start) -> None:
    """A full disk behind the output is said, and is no fault of the program."""
    with Path("/dev/full").open("wb") as full:
        _, err = start(ann, "--help", stdout=full).communicate(timeout=20)
    assert err.decode() == "berty: the system refuses: No space left on device\n"


def test_a_terminal_without_letters(ann: Home, start: Start) -> None:
    """An output that cannot carry every letter gets escapes for the rest."""
    ann.berty("group", "new", "漢é")
    process = start(ann, "group", "list", env={**os.environ, "PYTHONIOENCODING": "iso-8859-1"})
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"\\u6f22\xe9 ")


def _without_rights() -> list[str]:
    """What takes root's right to write everywhere from a process; nothing where we are not root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("as root, every file can be written, and there is no setpriv")
    return ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]


def test_a_home_that_is_read_only(ann: Home) -> None:
    """It cannot be used, since a counter could be used twice; the message names it, and nothing changes."""
    before = {path.name: path.read_bytes() for path in ann.path.iterdir()}
    for path in (*ann.path.iterdir(), ann.path):
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        command = [*_without_rights(), *ann.command("account", "show")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        ann.path.chmod(0o700)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == f"berty: the home {ann.path} cannot be written: Permission denied; choose another with --home\n"
    )
    assert {path.name: path.read_bytes() for path in ann.path.iterdir()} == before


def test_a_home_in_a_closed_directory(tmp_path: Path) -> None:
    """What may not be looked into is said in words."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    command = [*_without_rights(), *Home(closed / "home", None).command("status")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be read: Permission denied" in done.stderr


# -- terminals ---------------------------------------------------------------------------------


def test_a_passphrase_is_asked_for(nobody: Home) -> None:
    """It is typed twice, never shown, and stands in no command line; Ctrl-C at the question makes no home."""
    with Terminal(nobody.command("init", "--name", "Ann", "--passphrase")) as terminal:
        terminal.expect("New passphrase of this home: ")
        terminal.type("\x03")
        assert terminal.code() == 130
    assert not nobody.path.exists()
    with Terminal(nobody.command("init", "--name", "Ann", "--passphrase")) as terminal:
        for _ in range(2):
            terminal.expect(": ")
            terminal.type("correct horse\n")
        terminal.expect("is made from your passphrase")
        assert terminal.code() == 0
        assert "horse" not in terminal.seen
    assert not (nobody.path / "key").exists()
    with Terminal(nobody.command("account", "show")) as terminal:
        terminal.expect("Passphrase of this home: ")
        if Path("/proc").exists():
            assert b"horse" not in Path(f"/proc/{terminal.pid}/cmdline").read_bytes()
        terminal.type("correct horse\n")
        terminal.expect("(this one)")
        assert terminal.code() == 0


def test_chat_keeps_the_line_that_is_typed(people: People) -> None:
    """What arrives is printed above it, and it stands there again; then it is sent, and its state is shown."""
    ann, bob = people
    with Terminal(ann.command("chat", "Bob", "--last", "0")) as terminal:
        terminal.expect("Bob>")
        terminal.type("half-a-")
        terminal.expect("half-a-")
        bob.berty("send", "Ann", "hello\x1b[2J from Bob")
        terminal.expect("Bob: hello␛[2J from Bob")
        terminal.expect("half-a-")
        terminal.type("line\r")
        terminal.expect("acknowledged")
        terminal.type("\x04")
        assert terminal.code() == 0
        assert b"\x1b[2J" not in terminal.raw
        assert "node has ended" not in terminal.seen
        assert "Ann: half-a-line" not in terminal.seen
    assert bob.berty("read", "Ann", "--last", "1").out.endswith("Ann: half-a-line\n")


def test_chat_without_a_terminal(people: People, start: Start) -> None:
    """Each line of its input is sent; what cannot be sent is said, and the next line goes on."""
    ann, bob = people
    chat = start(ann, "chat", "Bob", "--last", "0", stdin=subprocess.PIPE)
    out, err = chat.communicate("first\n\nsecond é\n".encode(), timeout=20)
    assert (chat.returncode, out, err.decode()) == (0, b"", "— Bob —\n")
    until(lambda: [m["text"] for m in bob.berty("read", "Ann", "--last", "2", "--json").data] == ["first", "second é"])


def test_tail(people: People, start: Start) -> None:
    """Each arrival is one line of JSON at once, with a number behind which a later call goes on."""
    ann, bob = people
    newest = bob.berty("send", "Ann", "before", "--wait", "held").out.strip()
    tail = start(ann, "tail", "--json", "--after", "0")
    assert tail.stdout is not None
    while json.loads(tail.stdout.readline())["id"] != newest:
        pass  # what was there before
    bob.berty("send", "Ann", "one")
    message = json.loads(tail.stdout.readline())
    assert has_shape("arrived message", message)
    assert (message["text"], message["late"], message["group_name"]) == ("one", False, "Bob")
    bob.berty("send", "Ann", "two", "--wait", "held")
    later = start(ann, "tail", "Bob", "--after", str(message["number"]))
    assert later.stdout is not None
    assert re.fullmatch(r"\d\d:\d\d:\d\d Bob: two\n", later.stdout.readline().decode())


def test_waiting_in_vain(people: People) -> None:
    """After the timeout the exit code is 75, and the id is printed all the same: it must not be sent again."""
    ann, _ = people
    ann.berty("group", "new", "Alone")
    waited = ann.berty("send", "Alone", "anybody?", "--wait", "held", "--timeout", "0.2", "--json")
    assert waited.code == 75
    assert "not held after 0.2 s: it is stored" in waited.err
    view = json.loads(waited.out)
    assert has_shape("sent message", view)
    assert [m["id"] for m in ann.berty("read", "Alone", "--json").data] == [view["id"]]


def test_a_false_invitation_in_a_message(people: People, start: Start) -> None:
    """One that a contact sent is not listed; its line says so, and joining it says why not."""
    ann, bob = people
    link = false_group_link(bob, "Hikers")
    assert bob.berty("stop").code == 0
    anyio.run(_send_invitation, bob.path, link)
    start(bob, "run")
    until(lambda: [one["kind"] for one in ann.berty("read", "Bob", "--last", "1", "--json").data] == ["invitation"])
    assert ann.berty("group", "invitations", "--json").data == []
    message = ann.berty("read", "Bob", "--last", "1", "--json").data[0]
    assert message["invited_to"] == ""
    assert "(an invitation that cannot be used)" in ann.berty("read", "Bob", "--last", "1").out
    joined = ann.berty("group", "join", message["id"])
    assert (joined.code, "this group link cannot be used" in joined.err) == (1, True)


async def _send_invitation(home: Path, link: str) -> None:
    async with Node.open(home, network=False, config=NO_KEYRING) as node:
        await node.store.write(node.actions.send, "Ann", GroupInvitation(link))


def test_a_node_that_has_ended_says_so(ann: Home) -> None:
    """Who asks it too late learns that nothing was done, and may ask the next one."""
    with pytest.raises(NodeEnded) as caught:
        anyio.run(_ask_too_late, ann.path)
    assert caught.value.untouched


async def _ask_too_late(home: Path) -> None:
    async with Node.open(home, network=False, config=NO_KEYRING) as node:
        assert await node.store.read(node.replica.own_name) == "Ann"
    await node.store.read(node.replica.own_name)
