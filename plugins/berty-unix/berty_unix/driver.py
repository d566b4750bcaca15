"""The calls of the platform. They decide nothing, and what fails here fails as TransportError.

Each device has a Unix socket of its own in the directory, and sends to all others that it finds there.
"""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.lowlevel

from berty_core.errors import TransportError

LARGEST = 65_536
SUFFIX = ".berty"


class Sockets:
    """One open device."""

    def __init__(self, directory: str) -> None:
        """Open it; TransportError in words for a person."""
        self._directory = Path(directory)
        self._path = self._directory / f"{secrets.token_hex(8)}{SUFFIX}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._socket.bind(str(self._path))
        except OSError as error:
            self._socket.close()
            raise TransportError(f"no socket can be made in {directory}: {error.strerror or error}") from error

    async def send(self, data: bytes) -> None:
        """Send one datagram to everybody; who has no room for it misses it."""
        for path in self._directory.glob(f"*{SUFFIX}"):
            if path != self._path and path.is_socket() and not path.is_symlink():
                try:
                    self._socket.sendto(data, str(path))
                except ConnectionRefusedError:  # left behind by a device that was killed
                    path.unlink(missing_ok=True)
                except OSError:
                    continue  # no room, no right, or gone just now
        await anyio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        """The next datagram of somebody else."""
        while True:
            await anyio.lowlevel.checkpoint()
            try:
                return self._socket.recv(LARGEST)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)

    def close(self) -> None:
        """Give the device back."""
        self._socket.close()
        with suppress(OSError):
            self._path.unlink()
