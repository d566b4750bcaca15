"""The hooks of berty-libp2p. Importing this module loads none of the protocols."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Sequence

from berty_core.contracts.checks import Check, CheckHost, Finding, Level
from berty_core.contracts.hookspecs import hookimpl
from berty_core.contracts.session import SessionProfile, SessionSpec
from berty_core.contracts.transport import Probe
from berty_core.errors import LocalProtocolError

from .config import Libp2pConfig

API = (1, 0)
NAME = "libp2p"


class Libp2pSpec:
    """How the profile of Berty apps is found, judged and made."""

    name: str = NAME
    config: type = Libp2pConfig
    first_bytes: bytes = b"\x13"  # the length of multistream's first line
    tested_on: tuple[str, ...] = (
        "emulated: Linux, processes on loopback",
        "independent software: go-libp2p 0.48, go-libp2p-pubsub 0.15, boxo 0.39, Kubo 0.41 on loopback, TCP and QUIC",
    )

    def probe(self, config: object) -> Probe:
        """Tell whether the libraries are there."""
        _checked(config)
        for library in ("google.protobuf", "ifaddr"):
            if importlib.util.find_spec(library) is None:
                return Probe(False, f"the Python package {library} is not installed", "pip install berty-libp2p")
        return Probe(True)

    def create(self, config: object) -> SessionProfile:
        """Make a profile that is not running yet."""
        from .profile import Libp2pProfile  # noqa: PLC0415  slow, and a disabled one needs nothing of it

        return Libp2pProfile(_checked(config))


def _checked(config: object) -> Libp2pConfig:
    if not isinstance(config, Libp2pConfig):
        raise LocalProtocolError(f"the libp2p profile is configured by Libp2pConfig, not {type(config).__name__}")
    return config


@hookimpl
def berty_sessions() -> Sequence[SessionSpec]:
    """Give the session profile of Berty apps."""
    return (Libp2pSpec(),)


@hookimpl
def berty_checks() -> Sequence[Check]:
    """Give the check of the port."""
    return (Check("port", _port),)


def _port(host: CheckHost) -> Sequence[Finding]:
    """Look whether a port that is chosen in the settings can be had."""
    settings = _checked(host.settings(Libp2pConfig))
    if not settings.port:
        return (Finding(level=Level.OK, what="a free port is taken at each start"),)
    if host.node_runs:
        return (Finding(level=Level.OK, what=f"port {settings.port} is the running node's to have"),)
    reason = taken(settings.host, settings.port, udp=settings.quic)
    if not reason:
        return (Finding(level=Level.OK, what=f"port {settings.port} is free"),)
    why = "Berty apps cannot dial this node"
    what = f"port {settings.port} cannot be had: {reason}"
    return (Finding(level=Level.PROBLEM, what=what, why=why, command="berty config unset plugins.libp2p.port"),)


def taken(host: str, port: int, *, udp: bool) -> str:
    """Why nobody can listen there, by TCP and if wanted by UDP, or nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if udp:
                probe.bind((host, port))
    except OSError as error:
        return error.strerror or str(error)
    return ""
