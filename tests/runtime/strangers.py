"""What a transport runs for when there is no node: it takes links and does nothing with them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence

from berty_core.contracts.transport import Link, State


class Stranger:
    """A host that says nothing."""

    def __init__(self) -> None:
        self.logger = logging.getLogger("stranger")
        self.entropy: Callable[[int], bytes] = os.urandom
        self.links: list[Link] = []

    def accept(self, link: Link) -> None:
        """Keep the link."""
        self.links.append(link)

    def state(self, state: State, reasons: Sequence[str] = ()) -> None:
        """Take note of nothing."""
