"""The core's own checks for `berty doctor`. Invariant: they change nothing, and need neither key nor running node."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import stat
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..config import CONFIG_FILE, stops
from ..contracts.checks import Check, CheckHost, Finding, Level
from ..contracts.hookspecs import hookimpl
from ..errors import BertyError, StoreLocked
from ..loading import core_version
from ..runtime import home as homes
from ..runtime.control_socket import Connection
from ..runtime.lock import home_lock
from .settings import Settings
from .survey import Survey

EARLIEST = 1_767_225_600  # 2026-01-01: this software is younger, so no clock is right that shows less
DAY = 86_400
MEBIBYTE = 1 << 20
FULL, NEARLY_FULL = 32 * MEBIBYTE, 256 * MEBIBYTE
SAMPLE = 500  # records read from either end of the store
PROFILES = {"berty": "as the Berty app has it", "wesh": "as a bare weshnet node has it"}
COMPLETIONS = {
    "bash": ("~/.bashrc", "echo 'eval \"$(berty completion bash)\"' >> ~/.bashrc"),
    "zsh": ("~/.zshrc", "echo 'eval \"$(berty completion zsh)\"' >> ~/.zshrc"),
    "fish": (
        "~/.config/fish/completions/berty.fish",
        "berty completion fish > ~/.config/fish/completions/berty.fish",
    ),
}
Found = Sequence[Finding]


def ok(what: str, command: str = "") -> list[Finding]:
    """All is well."""
    return [Finding(level=Level.OK, what=what, command=command)]


def warning(what: str, why: str, command: str = "") -> Finding:
    """Something worth knowing."""
    return Finding(level=Level.WARNING, what=what, why=why, command=command)


def problem(what: str, why: str, command: str = "") -> Finding:
    """Something that does not work."""
    return Finding(level=Level.PROBLEM, what=what, why=why, command=command)


class CoreChecks:
    """The checks of one home. They are brought by the same hook as those of plugins."""

    def __init__(self, settings: Settings, survey: Survey) -> None:
        self._settings, self._survey, self._home = settings, survey, settings.home

    @hookimpl
    def berty_checks(self) -> Sequence[Check]:
        """Give the core's checks, in the order in which a person would look."""
        runs: dict[str, Callable[[CheckHost], Found]] = {
            "python": lambda _: self._python(),
            "home": lambda _: self._directory(),
            "key": lambda _: self._key(),
            "config": lambda _: self._config(),
            "plugins": lambda _: self._plugins(),
            "profile": lambda _: self._profile(),
            "clock": lambda _: self._clock(time.time()),
            "disk": lambda _: self._disk(),
            "store": lambda host: self._store(host.node_runs),
            "node": lambda host: self._node(),
            "terminal": lambda _: self._terminal(sys.stdout.encoding),
            "completion": lambda _: self._completion(os.environ.get("SHELL", "")),
        }
        return [Check(name, run) for name, run in runs.items()]

    def _python(self) -> Found:
        system = f"{platform.system()} {platform.machine()}"
        return ok(f"Python {platform.python_version()} on {system}, berty-core {core_version()}")

    # -- the home ------------------------------------------------------------------------------

    def _directory(self) -> Found:
        if not homes.exists(self._home):
            why = "without an account there is nobody to meet"
            return [warning(f"there is no account in {self._home} yet", why, "berty init --name YOUR-NAME")]
        if os.name != "posix":
            return ok(f"the account is in {self._home}")
        status = self._home.stat()
        if status.st_uid != os.getuid():
            return [problem(f"{self._home} belongs to another user", "it cannot be opened by you", "whoami")]
        if stat.S_IMODE(status.st_mode) & 0o077:
            why = "other users of this machine can see into it"
            return [problem(f"{self._home} is open to others", why, f"chmod 700 {shlex.quote(str(self._home))}")]
        if not os.access(self._home, os.W_OK):
            return [problem(f"{self._home} cannot be written", "nothing can be kept", f"ls -ld {self._home}")]
        return ok(f"the account is in {self._home}, which is yours alone")

    def _key(self) -> Found:
        if not homes.exists(self._home):
            return ok("there is no home that needs one")
        if (self._home / homes.SALT_FILE).exists():
            return ok("the key of this home is made from your passphrase, and is stored nowhere")
        file = self._home / homes.KEY_FILE
        if not file.exists():
            return self._keyring()
        if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
            why = "other users of this machine may read your messages"
            return [problem(f"the key file {file} is open to others", why, f"chmod 600 {shlex.quote(str(file))}")]
        homes.find_key(self._home, None)
        why = (
            "who can read your files, or finds the disk, can read your messages; "
            "an account can be moved into a home that has a passphrase"
        )
        return [warning(f"the key of this home lies in a file in it ({file})", why, "berty account export account.tar")]

    def _keyring(self) -> Found:
        try:
            homes.find_key(self._home, None)
        except BertyError as error:
            return [problem(str(error), "without its key the home cannot be opened", "keyring diagnose")]
        return ok("the key of this home is in your keyring")

    def _disk(self) -> Found:
        place = next(path for path in (self._home, *self._home.absolute().parents) if path.exists())
        free = shutil.disk_usage(place).free
        words = f"{free // MEBIBYTE} MiB are free where the home is"
        if free >= NEARLY_FULL:
            return ok(words)
        why = "when it is full, nothing that arrives is kept, and nothing can be sent"
        return [(problem if free < FULL else warning)(words, why, f"df -h {shlex.quote(str(place))}")]

    def _store(self, node_runs: bool) -> Found:
        if node_runs:
            return ok("the node that runs has the store open")
        if not homes.exists(self._home):
            return ok("there is none yet")
        try:
            with home_lock(self._home):
                return self._read_store()
        except StoreLocked:
            return ok("another command is at work on it")
        except BertyError as error:
            why = "the messages are in it"
            return [problem(str(error), why, f"ls -l {shlex.quote(str(self._home))}")]

    def _read_store(self) -> Found:
        if not any(path.name.startswith(homes.STORE_PREFIX) for path in self._home.iterdir()):
            words, why = f"the store of {self._home} is gone", "the messages were in it: put back a backup"
            return [problem(words, why, f"ls -l {shlex.quote(str(self._home))}")]
        store = self._survey.plugins.store().open(self._home)
        try:
            first = store.scan(b"", b"\xff" * 8, limit=SAMPLE)
            store.scan(b"", b"\xff" * 8, limit=SAMPLE, reverse=True)
        finally:
            store.close()
        if not first:
            return [problem("the store is empty", "the messages were in it: put back a backup", f"ls -l {self._home}")]
        return ok("the store opens, and both ends of it can be read")

    # -- what is set and installed -------------------------------------------------------------

    def _config(self) -> Found:
        faults = self._survey.faults
        file = self._home / CONFIG_FILE
        if not faults:
            return ok(f"{file} has no fault" if file.exists() else "no file, so the defaults count")
        return [
            problem(str(fault), "no node starts with this" if stops(fault) else _costs(fault), self._mend(fault))
            for fault in faults
        ]

    def _mend(self, fault: Any) -> str:
        if fault.origin.kind == "environment":
            return f"unset {fault.origin.name}"
        return "berty config edit"

    def _plugins(self) -> Found:
        fitted = self._survey.fitted
        found = []
        for left in fitted.left_out:
            if left.state in ("broken", "unusable"):
                say = problem if left.state == "broken" else warning
                found.append(say(f"{left.name}: {left.reason}", "it is not used", _command(left.remedy)))
        if not fitted.transports:
            why = "without a transport nobody is met"
            found.append(problem("no plugin that carries messages can be used", why, "berty plugin list"))
        names = ", ".join(self._survey.fitted.brought.by_plugin)
        return found or ok(f"{names} can be used")

    def _profile(self) -> Found:
        name = self._survey.config.profile
        return ok(f"{name}, {PROFILES[name]}; devices with another profile are not met")

    # -- the machine ---------------------------------------------------------------------------

    def _clock(self, now: float) -> Found:
        shown = time.strftime("%Y-%m-%d %H:%M", time.localtime(now))
        why = "others meet by the time of day, and see the time at which you write"
        if now < EARLIEST:
            return [problem(f"the clock shows {shown}, which is past", why, "timedatectl set-ntp true")]
        if self._written_last() > now + DAY:
            return [warning(f"the clock shows {shown}, and the home was used later", why, "timedatectl set-ntp true")]
        return ok(f"the clock shows {shown}")

    def _written_last(self) -> float:
        mark = self._home / homes.MARK_FILE
        return mark.stat().st_mtime if mark.exists() else 0.0

    def _node(self) -> Found:
        running = Connection.open(self._home)
        if running is None:
            return ok("no node runs here", "berty run")
        with running:
            if not running.has_network:
                return ok("a short command is at work")
            view = running.call("status")
        found = [
            warning(f"{view['name']}: {view['state']} ({'; '.join(view['reasons'])})", "nobody is met over it now")
            for view in (*view["transports"], *view["session_profiles"])
            if view["state"] not in ("active", "starting")
        ]
        return found or ok(f"a node runs (process {running.greeting['pid']})")

    def _terminal(self, encoding: str | None) -> Found:
        if (encoding or "").lower().replace("-", "") == "utf8":
            return ok(f"its encoding is {encoding}")
        why = "letters that it lacks are shown as codes"
        return [warning(f"the terminal's encoding is {encoding}", why, "export LANG=C.UTF-8")]

    def _completion(self, shell: str) -> Found:
        name = Path(shell).name
        if name not in COMPLETIONS:
            return ok("there is none for this shell" if name else "no shell is known")
        file, command = COMPLETIONS[name]
        path = Path(file).expanduser()
        is_there = path.is_file() and (name == "fish" or "berty completion" in path.read_text(errors="replace"))
        return ok(f"{name} completes commands and names") if is_there else ok(f"{name} could complete names", command)


def _command(remedy: str) -> str:
    """The first command that a remedy names."""
    quoted = re.search("`([^`]+)`", remedy)
    return quoted[1] if quoted else remedy


def _costs(fault: Any) -> str:
    return f"the plugin {fault.path[1]} is not used" if len(fault.path) > 1 else "it has no effect"
