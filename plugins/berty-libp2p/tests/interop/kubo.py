"""A real Kubo on the loopback interface, driven by its HTTP RPC."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.streams.buffered import BufferedByteReceiveStream

CONFIG: dict[str, Any] = {
    "Addresses": {
        "Swarm": ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"],
        "API": "/ip4/127.0.0.1/tcp/0",
        "Gateway": [],
    },
    "Bootstrap": [],
    "AutoConf": {"Enabled": False},
    "AutoTLS": {"Enabled": False},
    "AutoNAT": {"ServiceMode": "disabled"},
    "Discovery": {"MDNS": {"Enabled": False}},
    "HTTPRetrieval": {"Enabled": False},
    "Provide": {"Enabled": False},
    "Pubsub": {"Enabled": True},
    "Routing": {"Type": "none"},
    "Swarm": {
        "RelayClient": {"Enabled": False},
        "RelayService": {"Enabled": False},
        "DisableNatPortMap": True,
        "Transports": {"Network": {"WebTransport": False, "Websocket": False, "WebRTCDirect": False}},
    },
    "Plugins": {"Plugins": {"telemetry": {"Disabled": True}, "nopfs": {"Disabled": True}}},
}


class Kubo:
    """One running daemon."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.peer_id = ""
        self.addresses: list[str] = []
        self.messages: list[tuple[str, bytes]] = []

    def at(self, transport: str) -> str:
        """Its address of one transport, "tcp" or "quic-v1"."""
        return next(address for address in self.addresses if f"/{transport}/" in address)

    async def call(self, path: str, body: bytes | None = None, **arguments: str) -> Any:
        """One RPC; the decoded answer, or its bytes. AssertionError with Kubo's words."""
        status, data = await self._request(path, body, arguments)
        assert status == 200, data[:300]
        try:
            return json.loads(data)
        except ValueError:
            return data

    async def _request(self, path: str, body: bytes | None, arguments: dict[str, str]) -> tuple[int, bytes]:
        with anyio.fail_after(15):
            async with await anyio.connect_tcp(self._host, self._port) as stream:
                await stream.send(self._head(path, body, arguments))
                data = b""
                try:
                    while True:
                        data += await stream.receive()
                except anyio.EndOfStream:
                    pass
        head, _, rest = data.partition(b"\r\n\r\n")
        chunked = b"transfer-encoding: chunked" in head.lower()
        return int(head.split()[1]), _dechunk(rest) if chunked else rest

    def _head(self, path: str, body: bytes | None, arguments: dict[str, str]) -> bytes:
        query = "&".join(f"{name}={value}" for name, value in arguments.items())
        lines = [f"POST /api/v0/{path}?{query} HTTP/1.1", f"Host: {self._host}", "Connection: close"]
        content = b""
        if body is not None:
            content = b"--b\r\nContent-Disposition: form-data; name=file; filename=f\r\n\r\n" + body + b"\r\n--b--\r\n"
            lines.append("Content-Type: multipart/form-data; boundary=b")
        lines.append(f"Content-Length: {len(content)}")
        return "\r\n".join([*lines, "", ""]).encode() + content

    async def subscribe(self, topic: str, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Collect the messages of a topic until cancelled."""
        async with await anyio.connect_tcp(self._host, self._port) as stream:
            await stream.send(self._head("pubsub/sub", None, {"arg": encode_topic(topic)}))
            lines = BufferedByteReceiveStream(stream)
            task_status.started()
            while True:
                line = await lines.receive_until(b"\n", 1 << 20)
                if line.startswith(b"{"):
                    message = json.loads(line)
                    self.messages.append((message["from"], decode_multibase(message["data"])))


def encode_topic(topic: str) -> str:
    """A topic as an argument: multibase base64url."""
    return "u" + base64.urlsafe_b64encode(topic.encode()).decode().rstrip("=")


def decode_multibase(text: str) -> bytes:
    """The bytes of multibase base64url."""
    return base64.urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4))


def _dechunk(data: bytes) -> bytes:
    out = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        out, data = out + data[:length], data[length + 2 :]
        if not length:
            break
    return out


def _merge(below: dict[str, Any], above: dict[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = value


@asynccontextmanager
async def kubo(program: Path, directory: Path) -> AsyncIterator[Kubo]:
    """Run a daemon with a repository of its own for the length of the block."""
    repository = directory / "repository"
    directory.mkdir(exist_ok=True)
    environment = {"IPFS_PATH": str(repository), "HOME": str(directory), "IPFS_TELEMETRY": "off", "PATH": os.defpath}
    await anyio.run_process([str(program), "init", "--profile=test"], env=environment)
    path = anyio.Path(repository / "config")
    config = json.loads(await path.read_text())
    _merge(config, CONFIG)
    await path.write_text(json.dumps(config))
    command = [str(program), "daemon", "--migrate=false"]
    async with await anyio.open_process(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            found = Kubo(*await _api(repository))
            known = await found.call("id")
            found.peer_id = known["ID"]
            found.addresses = known["Addresses"]
            yield found
        finally:
            process.kill()


async def _api(repository: Path) -> tuple[str, int]:
    """Where the daemon takes RPCs, once it does."""
    with anyio.fail_after(30):
        while True:
            try:
                parts = (await anyio.Path(repository / "api").read_text()).strip().split("/")
                async with await anyio.connect_tcp(parts[2], int(parts[4])):
                    return parts[2], int(parts[4])
            except (OSError, IndexError):
                await anyio.sleep(0.05)
