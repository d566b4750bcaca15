"""What is known of the device's surroundings. Invariant: who takes changes slowly gets the newest only."""

from __future__ import annotations

from ...contracts.traits import Network
from ...media import Fanout


class Surroundings:
    """The present `Network`; `changes()` gives each other one from then on."""

    def __init__(self, network: Network | None = None) -> None:
        self.network = network or Network()
        self._told = Fanout[Network](room=1)
        self.changes = self._told.subscribe

    def change(self, network: Network) -> None:
        """Tell everybody, if it is another one."""
        if network != self.network:
            self.network = network
            self._told.put(network)
