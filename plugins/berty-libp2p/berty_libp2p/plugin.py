"""The hooks of berty-libp2p. Importing this module loads none of the protocols."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from berty_core.contracts.hookspecs import hookimpl
from berty_core.contracts.session import SessionProfile, SessionSpec
from berty_core.contracts.transport import Probe
from berty_core.errors import LocalProtocolError

from .config import Libp2pConfig

CORE = ">=0.1,<1"
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
