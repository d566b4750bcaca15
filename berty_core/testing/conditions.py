"""What rules are about: conditions on traits, and the words of a skip where a trait is absent."""

from __future__ import annotations

from typing import Any

from .rules import Condition


def _links(suite: Any) -> bool:
    traits = suite.traits
    return bool((traits.dials and traits.listens) or traits.autoconnects)


LINKS = Condition("no links", _links)
DIALS = Condition("no dials, or no listens", lambda suite: suite.traits.dials and suite.traits.listens)
DISCOVERS = Condition("no discovers", lambda suite: suite.traits.discovers)
AUTOCONNECTS = Condition("no autoconnects", lambda suite: suite.traits.autoconnects)
STREAM = Condition("no stream", lambda suite: _links(suite) and suite.traits.stream)
DATAGRAMS = Condition("no datagram links", lambda suite: _links(suite) and not suite.traits.stream)
RELIABLE = Condition("not reliable", lambda suite: suite.traits.reliable)
UNRELIABLE = Condition("reliable", lambda suite: not suite.traits.reliable)
ORDERED = Condition("not ordered", lambda suite: suite.traits.ordered)
BEACONS = Condition("no beacon_bytes", lambda suite: suite.traits.discovers and suite.traits.beacon_bytes >= 16)
BUS = Condition("no bus", lambda suite: suite.traits.broadcast)
TOPICS = Condition("no topics", lambda suite: suite.traits.topics)
BUDGET = Condition("no budget", lambda suite: suite.traits.budgeted)
NO_BUDGET = Condition("budgeted", lambda suite: not suite.traits.budgeted)
MAX_LINKS = Condition("no max_links below 20", lambda suite: (suite.traits.max_links or 20) < 20)
CUTS = Condition("no `cut` and `mend` in the suite", lambda suite: suite.can_cut)
