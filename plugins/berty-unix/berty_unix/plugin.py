"""The hooks of berty-unix. Invariant: importing this module opens nothing, and needs no library but the core."""

from __future__ import annotations

from collections.abc import Sequence

from berty_core.contracts.hookspecs import hookimpl
from berty_core.contracts.transport import Probe, Traits, Transport, TransportSpec

from .config import UnixConfig
from .transport import TRAITS, UnixTransport


class UnixSpec:
    """How the transport is found, judged and made."""

    name: str = "unix"
    api: tuple[int, int] = (1, 0)
    traits: Traits = TRAITS
    config: type = UnixConfig
    platforms: frozenset[str] = frozenset({"linux", "darwin"})
    tested_on: tuple[str, ...] = ("emulated: Linux, several devices that share a directory",)

    def probe(self, config: object) -> Probe:
        """Tell whether it can run here: a library or a device that is absent is told of, with what to type."""
        if not getattr(config, "directory", ""):
            return Probe(False, "no directory is set", "berty config set plugins.unix.directory /run/berty")
        return Probe(available=True)

    def create(self, config: object) -> Transport:
        """Make a transport that is not running yet."""
        assert isinstance(config, UnixConfig)  # noqa: S101  the core makes it of the class above
        return UnixTransport(config)


@hookimpl
def berty_transports() -> Sequence[TransportSpec]:
    """Give the transport."""
    return (UnixSpec(),)
