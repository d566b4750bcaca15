"""Where the private socket of a home lies, and how a command talks through it. Standard library only: it starts fast.

Invariant: a socket is used only if it and its directory are this user's alone, and its node has this very home open.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import AmbiguousName, BertyError, RemoteProtocolError, StoreError, StoreLocked, UserError

PLACE_FILE = "socket"  # in the home: the path of the socket of whoever has it open
MAX_PATH = 100  # bytes; sun_path holds 104 on some systems, 108 on others
MAX_REQUEST = 4 * 1024 * 1024  # bytes of a line to the node
MAX_ANSWER = 64 * 1024 * 1024  # bytes of a line from the node
CONNECT_TIMEOUT = 5.0
HAVE_UNIX_SOCKETS = hasattr(socket, "AF_UNIX")


class NodeEnded(BertyError):
    """The node ended before it answered; if it said so before it took the request, nothing was done."""

    def __init__(self, words: str, *, untouched: bool) -> None:
        super().__init__(words)
        self.untouched = untouched


class NotInTime(BertyError):
    """What was waited for did not happen within the time that was given."""


_ERRORS: dict[str, type[BertyError]] = {
    kind.__name__: kind for kind in (UserError, AmbiguousName, RemoteProtocolError, StoreError, StoreLocked, NotInTime)
}


def error_kind(error: BertyError) -> str:
    """The name under which an error crosses the socket."""
    return next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ERRORS), "UserError")


def error_from(kind: str, words: str) -> BertyError:
    """The error that crossed the socket under this name."""
    return _ERRORS.get(kind, UserError)(words)


# -- where it lies -----------------------------------------------------------------------------


def socket_path(home: Path) -> Path:
    """Choose the place of a home's socket and make its directory private; UserError if there is none.

    The user's runtime directory, else a temporary one, else the home: the first that is private and short enough.
    """
    import hashlib  # noqa: PLC0415  only whoever opens a home needs it

    name = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16] + ".sock"
    for directory in _directories(home):
        path = directory / name
        if len(os.fsencode(path)) <= MAX_PATH and _make_private(directory):
            return path
    raise UserError(f"there is no place for the socket of {home}: set XDG_RUNTIME_DIR to a short, private directory")


def _directories(home: Path) -> list[Path]:
    import tempfile  # noqa: PLC0415  only whoever opens a home needs these
    import warnings  # noqa: PLC0415

    import platformdirs  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it falls back to a directory of its own; so do we
        runtime = platformdirs.user_runtime_path("berty")
    return [runtime, Path(tempfile.gettempdir()) / f"berty-{_user()}", home.resolve()]


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _make_private(directory: Path) -> bool:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return is_private(directory)
    except OSError:
        return False


def is_private(path: Path) -> bool:
    """Whether a file belongs to this user, and nobody else may use it; a symbolic link never does."""
    status = path.lstat()
    return status.st_uid == _user() and not status.st_mode & 0o077 and not stat.S_ISLNK(status.st_mode)


def find_socket(home: Path) -> Path | None:
    """The socket that the home names, if it is there and private."""
    try:
        path = Path((home / PLACE_FILE).read_text())
        return path if is_private(path) and is_private(path.parent) else None
    except (OSError, ValueError):
        return None


def peer_is_this_user(connection: socket.socket) -> bool:
    """Whether the other end runs as this user (where the system tells; elsewhere the modes have to do)."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", data)[1]
    return uid == _user()


# -- a command's end ---------------------------------------------------------------------------


class Connection:
    """A connection to the node that has the home open; one request at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._file = connection.makefile("rb")
        self.greeting = self._read()

    @classmethod
    def open(cls, home: Path) -> Connection | None:
        """Connect to whoever has a home open; None if nobody answers there."""
        path = find_socket(home) if HAVE_UNIX_SOCKETS else None
        if path is None:
            return None
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            raw.settimeout(CONNECT_TIMEOUT)
            raw.connect(str(path))
            connection = cls(raw) if peer_is_this_user(raw) else None
        except (OSError, NodeEnded):
            raw.close()
            return None
        if connection is None or connection.greeting.get("home") != str(home.resolve()):
            if connection is not None:
                connection.close()  # a copied home names the socket of the one it was copied from
            raw.close()
            return None
        raw.settimeout(None)
        return connection

    @property
    def has_network(self) -> bool:
        """Whether the node meets others, or is a short command at work on the home."""
        return bool(self.greeting.get("network"))

    @property
    def is_brief(self) -> bool:
        """Whether it is the node of a command that ends soon."""
        return bool(self.greeting.get("brief"))

    def call(self, method: str, **params: Any) -> Any:
        """Call a method and return its result; its error is raised here. NodeEnded."""
        self._send(method, params)
        answer = self._read()
        if "error" in answer:
            raise error_from(answer["error"]["kind"], answer["error"]["message"])
        return answer["result"]

    def stream(self, method: str, **params: Any) -> Iterator[Any]:
        """Call a method that answers again and again, until it ends or this connection is closed."""
        self._send(method, params)
        while True:
            answer = self._read()
            if "error" in answer:
                raise error_from(answer["error"]["kind"], answer["error"]["message"])
            if "result" in answer:
                return
            yield answer["event"]

    def _send(self, method: str, params: dict[str, Any]) -> None:
        line = json.dumps({"method": method, "params": params}).encode() + b"\n"
        if len(line) > MAX_REQUEST:
            raise UserError(f"this is too long for a message: {len(line)} bytes, at most {MAX_REQUEST} are taken")
        try:
            self._socket.sendall(line)
        except OSError:
            return  # it said why, if it could; the answer is read next

    def _read(self) -> dict[str, Any]:
        try:
            line = self._file.readline(MAX_ANSWER)
        except (OSError, ValueError):  # the latter if this end was closed
            line = b""
        if not line.endswith(b"\n"):
            raise NodeEnded(
                "the node ended before it answered: look whether it was done, then try again", untouched=False
            )
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise NodeEnded("the node ended in the middle of an answer", untouched=False) from error
        if answer.get("closing"):
            raise NodeEnded("the node ended", untouched=True)
        return answer

    def close(self) -> None:
        """Hang up; whoever waits in `stream` gets NodeEnded."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # first, so that a thread that still reads lets go of the file
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
