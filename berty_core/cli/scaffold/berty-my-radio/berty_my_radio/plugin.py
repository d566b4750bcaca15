"""The hooks of berty-my-radio. Invariant: importing this module opens nothing, and needs no library but the core."""

from __future__ import annotations

from collections.abc import Sequence

from berty_core.contracts.hookspecs import hookimpl
from berty_core.contracts.transport import Probe, Traits, Transport, TransportSpec

from .config import MyRadioConfig
from .transport import TRAITS, MyRadioTransport


class MyRadioSpec:
    """How the transport is found, judged and made."""

    name: str = "my-radio"
    api: tuple[int, int] = (1, 0)
    traits: Traits = TRAITS
    config: type = MyRadioConfig
    platforms: frozenset[str] = frozenset()
    tested_on: tuple[str, ...] = ("simulated: a stand-in medium over sockets on the loopback interface",)

    def probe(self, config: object) -> Probe:
        """Tell whether it can run here: a library or a device that is absent is told of, with what to type."""
        return Probe(available=True)

    def create(self, config: object) -> Transport:
        """Make a transport that is not running yet."""
        assert isinstance(config, MyRadioConfig)  # noqa: S101  the core makes it of the class above
        return MyRadioTransport(config)


@hookimpl
def berty_transports() -> Sequence[TransportSpec]:
    """Give the transport."""
    return (MyRadioSpec(),)
