"""`berty demo`: three real processes on the loopback interface, driven by the commands a person would type."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..errors import UserError
from ..runtime.control_socket import Connection

USED = {"mdns", "sqlite"}
LOOPBACK = "plugins.mdns.loopback=true"
PATIENCE = 20.0  # seconds that a step may take on a busy machine
POLL = 0.02
SECRET = "The key is under the third flowerpot."  # noqa: S105  a text to look for on the disk


def settings() -> list[str]:
    """Options for a device that never leaves the loopback interface: plugins that could are off."""
    from ..plugins import installed  # noqa: PLC0415  slow

    others = sorted({point.name for point in installed()} - USED)
    return ["-s", LOOPBACK, "-s", f"node.disabled={others}"]


class Device:
    """One person's device: a home and, while it runs, a process of its own."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.home = directory / name.lower()
        self.log = directory / f"{name.lower()}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "berty_core", "--home", str(self.home), *settings(), *arguments]

    def start(self) -> None:
        """Run the node until `kill` or `stop`."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command("run"), stdout=log, stderr=log, stdin=subprocess.DEVNULL)  # noqa: S603

    def kill(self) -> None:
        """End the process as a power cut would: kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End the process in good order."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def show(self, *arguments: str) -> None:
        """Print a command as its user would type it."""
        words = " ".join(f"'{word}'" if " " in word else word for word in arguments)
        click.echo(click.style(f"    {self.name.lower()}$ berty {_shortened(words)}", dim=True))

    def berty(self, *arguments: str, show: bool = True) -> str:
        """Run one command as its user would, and give back what it prints."""
        if show:
            self.show(*arguments)
        done = subprocess.run(  # noqa: S603
            self._command(*arguments), capture_output=True, text=True, timeout=PATIENCE * 2, check=False
        )
        if done.returncode:
            raise UserError(
                f"`berty {arguments[0]}` of {self.name} ended with {done.returncode}: {done.stderr.strip()}"
            )
        return done.stdout.strip()

    def ask(self, method: str, **params: Any) -> Any:
        """Ask the running node as commands do, over its private socket; None if it cannot be asked yet."""
        connection = Connection.open(self.home)
        if connection is None:
            return None
        with connection:
            return connection.call(method, **params)

    def until(self, what: str, condition: Callable[[], object]) -> None:
        """Wait for something that the network brings; UserError if it does not come."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise UserError(f"{self.name} waited {PATIENCE:.0f} s for {what}")
            time.sleep(POLL)

    def texts(self, conversation: str) -> list[str]:
        """All texts of a conversation, in the log's order."""
        return [message["text"] for message in self._messages(conversation)]

    def state_of_last(self, conversation: str) -> str:
        """The state of delivery of the last message."""
        return str(self._messages(conversation)[-1]["state"])

    def _messages(self, conversation: str) -> list[dict[str, Any]]:
        connection = Connection.open(self.home)
        if connection is None:
            return []
        with connection:
            return list(connection.stream("history", to=conversation))


def _shortened(words: str) -> str:
    return words if len(words) <= 100 else words[:60] + "…" + words[-20:]


@contextmanager
def _devices(*names: str) -> Iterator[list[Device]]:
    """Homes in a temporary directory; whatever happens, no process stays. The logs stay if something failed."""
    directory = Path(tempfile.mkdtemp(prefix="berty-demo-"))
    devices = [Device(directory, name) for name in names]
    try:
        yield devices
    except BaseException:  # also Ctrl-C: no process may stay; it is raised again
        for device in devices:
            device.kill()
        for device in devices:
            shutil.rmtree(device.home, ignore_errors=True)
        click.echo(f"The devices' logs are in {directory}", err=True)
        raise
    with ThreadPoolExecutor() as all_at_once:
        list(all_at_once.map(Device.stop, devices))
    shutil.rmtree(directory, ignore_errors=True)


@click.command()
def demo() -> None:
    """See three devices meet, talk and make a group.

    They find each other, become contacts, talk, make a group, and one is killed and comes back.
    Everything is real: three processes with their own homes, and sockets on the loopback interface only.

    \b
    Example:
      berty demo
    """
    started = time.monotonic()
    with _devices("Ann", "Bob", "Cleo") as (ann, bob, cleo):
        _begin(ann, bob, cleo)
        _meet(ann, bob)
        _talk(ann, bob)
        _group(ann, bob, cleo)
        _kill(ann, bob)
        _look_at_the_disk(ann)
    click.echo(f"\nDone in {time.monotonic() - started:.1f} s. Now with somebody: `berty init --name YOUR-NAME`.")


def _say(words: str) -> None:
    click.echo("\n" + click.style(words, bold=True))


def _begin(*devices: Device) -> None:
    _say("1. Three devices, each with an account of its own; no server, no registration.")
    for device in devices:
        device.show("init", "--name", device.name, "--no-keyring")
    with ThreadPoolExecutor() as all_at_once:
        list(all_at_once.map(_begin_one, devices))


def _begin_one(device: Device) -> None:
    device.berty("init", "--name", device.name, "--no-keyring", show=False)
    device.start()
    device.until("its node", lambda: device.ask("account_show"))


def _become_contacts(owner: Device, asker: Device, *, show: bool = True) -> None:
    link = owner.berty("contact", "link", show=show)
    asker.berty("contact", "add", link, show=show)
    owner.until(f"{asker.name}'s request", lambda: _state(owner, asker.name) == "received")
    owner.berty("contact", "accept", asker.name, show=show)
    asker.until(f"{owner.name} as a contact", lambda: _state(asker, owner.name) == "added")


def _state(device: Device, name: str) -> str:
    found = [contact["state"] for contact in device.ask("contact_list") or [] if contact["name"] == name]
    return str(found[0]) if found else ""


def _meet(ann: Device, bob: Device) -> None:
    _say("2. Ann gives Bob her link. Bob's device finds hers on the network and asks; Ann accepts.")
    _become_contacts(ann, bob)
    ann.until("a session with Bob", lambda: ann.ask("peers"))
    click.echo("    They share a group of two, and neither device had an address typed in.")


def _talk(ann: Device, bob: Device) -> None:
    _say("3. They talk. A message is stored first, and each further state is shown only once it is proven:")
    click.echo("    stored: on this disk    sent: handed to a live session, unconfirmed")
    click.echo("    held: on the disk of another member's device    acknowledged: that device could read it")
    bob.berty("send", "Ann", SECRET, "--wait", "acknowledged")
    click.echo("    … acknowledged by Ann's device.")
    ann.berty("send", "Bob", "Found it, thank you!", "--wait", "held")
    bob.until("Ann's answer", lambda: len(bob.texts("Ann")) == 2)
    click.echo(_indented(bob.berty("read", "Ann")))


def _group(ann: Device, bob: Device, cleo: Device) -> None:
    _say("4. Ann makes a group of three. Invitations travel through the contacts, sealed like any message.")
    _become_contacts(ann, cleo, show=False)
    ann.berty("group", "new", "Garden")
    for friend in (bob, cleo):
        ann.berty("group", "invite", "Garden", friend.name)
        friend.until("the invitation", partial(friend.ask, "group_invitations"))
        friend.berty("group", "join", "Garden")
    everybody = (ann, bob, cleo)
    for device in everybody:
        device.until("three members", partial(_has_members, device, 3))
    cleo.berty("send", "Garden", "Hello from Cleo!")
    for device in everybody:
        device.until("Cleo's text", partial(_has_text, device, "Hello from Cleo!"))
    click.echo("    All three can read it; Bob's and Cleo's devices met although they are no contacts.")


def _has_members(device: Device, count: int) -> bool:
    return bool(device.ask("group_show", name="Garden")["members"] == count)


def _has_text(device: Device, text: str) -> bool:
    return text in device.texts("Garden")


def _kill(ann: Device, bob: Device) -> None:
    _say("5. Bob's device is killed (kill -9). Ann writes meanwhile; it comes back, and nothing is lost.")
    before = bob.texts("Ann")
    bob.kill()
    sent = ann.berty("send", "Bob", "Are you there?")
    click.echo(f"    Ann's message is {ann.state_of_last('Bob')}: nobody else is known to have {sent[:12]}…")
    bob.start()
    bob.until("what he missed", lambda: bob.texts("Ann") == [*before, "Are you there?"])
    ann.until("the acknowledgement", lambda: ann.state_of_last("Bob") == "acknowledged")
    click.echo("    Bob has every message in the same order, and Ann's shows: acknowledged.")


def _look_at_the_disk(ann: Device) -> None:
    _say("6. What a finder of Ann's disk without its key can read:")
    files = [path for path in ann.home.iterdir() if path.is_file() and os.access(path, os.R_OK)]
    content = b"".join(path.read_bytes() for path in files)
    size = sum(path.stat().st_size for path in files)
    for text in (SECRET, "Are you there?", "Hello from Cleo!", "Garden"):
        if text.encode() in content:
            raise UserError(f"{text!r} stands in clear in {ann.home}")
    click.echo(f"    {size // 1024} KiB in {len(files)} files; no text and no name of these stands there in clear.")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
