"""The calls of the platform. They decide nothing, and what fails here fails as TransportError.

Replace the socket by your radio. Sixteen UDP ports of the loopback interface stand in for the air here.
"""

from __future__ import annotations

import socket
from contextlib import suppress

import anyio
import anyio.lowlevel

from berty_core.errors import TransportError

from .config import PLACES

HOST, LARGEST = "127.0.0.1", 65_536


class Radio:
    """One open device."""

    def __init__(self, channel: int) -> None:
        """Open it; TransportError in words for a person."""
        self._places = range(channel, channel + PLACES)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        for place in self._places:
            with suppress(OSError):  # another device has it
                self._socket.bind((HOST, place))
                self._place = place
                return
        self._socket.close()
        raise TransportError(f"there is no place for another device on channel {channel}")

    async def send(self, data: bytes) -> None:
        """Put one datagram on the air; it may get lost there."""
        for place in self._places:
            if place != self._place:
                with suppress(BlockingIOError, ConnectionError):
                    self._socket.sendto(data, (HOST, place))
        await anyio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        """The next datagram of somebody else."""
        while True:
            await anyio.lowlevel.checkpoint()
            with suppress(ConnectionError):
                try:
                    return self._socket.recv(LARGEST)
                except BlockingIOError:
                    await anyio.wait_readable(self._socket)

    def close(self) -> None:
        """Give the device back."""
        self._socket.close()
