"""Rules 2 to 9: what a plugin says of its transport before anything runs."""

from __future__ import annotations

import re
import sys
from typing import Any

import attrs

from ..contracts.transport import API, Probe, Traits
from .meeting import TransportChecks
from .residue import side_effects
from .rules import LEVELS, equal, expect, rule

BACKENDS = frozenset({"asyncio", "trio"})
BUS_CALLS, BUDGET_CALLS = ("bus",), ("budget",)


class SpecRules(TransportChecks):
    """Checks of a `TransportSpec`; they need no medium."""

    @rule(2)
    def test_spec_name(self) -> None:
        """`name` is one word of small letters, digits and hyphens that begins with a letter."""
        expect(re.fullmatch(r"[a-z][a-z0-9-]{0,31}", self.spec.name) is not None, f"the name is {self.spec.name!r}")

    @rule(3)
    def test_spec_api(self) -> None:
        """`api` is the version of this contract that the plugin was written for, and one that this core serves."""
        expect(
            len(self.spec.api) == 2 and self.spec.api[0] == API[0] and self.spec.api[1] <= API[1],
            f"it was written for {self.spec.api}, and this core serves {API}",
        )

    @rule(4)
    def test_spec_traits(self) -> None:
        """`traits` declare at least one way to talk, and at least one event loop; an autoconnecting one listens too."""
        traits = self.spec.traits
        expect(isinstance(traits, Traits), "`traits` is no Traits")
        expect(
            traits.dials or traits.listens or traits.autoconnects or traits.broadcast, "it has neither links nor a bus"
        )
        expect(bool(traits.backends) and traits.backends <= BACKENDS, f"backends are {sorted(traits.backends)}")
        expect(traits.broadcast or not traits.topics, "it has topics, and no bus")
        expect(traits.discovers or traits.broadcast or not traits.dials, "it dials, and nobody can be found")
        expect(traits.max_links is None or traits.max_links > 0, "max_links is not positive")

    @rule(5)
    def test_spec_config(self) -> None:
        """`config` is an attrs class, frozen, and every setting has a default, so that a plugin without a table can be
        judged.
        """
        expect(attrs.has(self.spec.config), "`config` is no attrs class")
        made = self.spec.config()
        expect(made == self.spec.config(), "two values of defaults differ")
        for field in attrs.fields(self.spec.config):
            try:
                setattr(made, field.name, None)
            except attrs.exceptions.FrozenInstanceError:
                continue
            raise AssertionError(f"{field.name} can be changed: the class is not frozen")

    @rule(6, needs=(5,))
    def test_spec_probe(self) -> None:
        """`probe` says whether the transport can run here, the same each time; if not, why, and what to type."""
        config = self.spec.config()
        probe = self.spec.probe(config)
        expect(isinstance(probe, Probe), f"`probe` gave {probe!r}")
        equal(probe, self.spec.probe(config))
        expect(
            probe.available or (probe.reason.strip() != "" and probe.remedy.strip() != ""), "no reason, or no remedy"
        )

    @rule(7, needs=(6,))
    def test_spec_no_side_effects(self) -> None:
        """`probe` and `create` have no side effects: no socket, process, thread or file, and nothing runs yet."""
        config = self.spec.config()
        with side_effects() as seen:
            available = self.spec.probe(config).available
        equal([], seen)
        if available:
            self.spec.create(config)  # modules may be imported by the first
            with side_effects() as seen:
                self.spec.create(config)
            equal([], seen)

    @rule(8, needs=(7,))
    async def test_spec_calls(self) -> None:
        """`create` gives another transport each time, with the calls that its traits declare."""
        async with self.open_pair() as configs:
            one, other = self.create(configs[0]), self.create(configs[0])
            expect(one is not other, "the same transport was given twice")
            for name in self._declared():
                expect(callable(getattr(one, name, None)), f"its traits declare it, and it has no `{name}`")

    @rule(9)
    def test_spec_claims(self) -> None:
        """`platforms` are values of `sys.platform`; entries of `tested_on` begin with their level and say on what."""
        for platform in self.spec.platforms:
            expect(re.fullmatch(r"[a-z]+[0-9]*", platform) is not None, f"{platform!r} is no value of sys.platform")
        expect(not self.spec.platforms or sys.platform in self.spec.platforms, f"it is not for {sys.platform}")
        for entry in self.spec.tested_on:
            level, _, what = entry.partition(":")
            expect(level in LEVELS and what.strip() != "", f"{entry!r} does not begin with one of {', '.join(LEVELS)}")

    def _declared(self) -> tuple[str, ...]:
        traits: Any = self.traits
        calls: tuple[str, ...] = ("run",)
        if traits.discovers:
            calls += ("discover", "advertise")
        if traits.dials:
            calls += ("dial",)
        return calls + (BUS_CALLS if traits.broadcast else ()) + (BUDGET_CALLS if traits.budgeted else ())
