"""Rules 130 to 139: a limit of airtime, kept whatever the core does, whatever the clock says, and over restarts."""

from __future__ import annotations

import math

from ..contracts.transport import Budget, Priority
from ..errors import BudgetSpent
from .bus_life_rules import BusLifeRules
from .bus_rules import TOPIC, Member
from .conditions import BUDGET, BUS
from .rules import NotApplicable, expect, rule
from .stage import Running

MOST_SENT = 5000


class BudgetRules(BusLifeRules):
    """Checks of `budget`; time passes by the clock of the suite, which moves as a check wants it."""

    @rule(130, needs=(22,), when=(BUDGET,))
    async def test_budget_budget(self) -> None:
        """A budget has a limit and a window above zero; a larger datagram never takes less airtime."""
        async with self.running(1) as (one,):
            budget = one.metered.budget()
            expect(0 < budget.limit <= budget.window, f"limit {budget.limit}, window {budget.window}")
            airtimes = [budget.airtime(size) for size in (1, 20, 100, 233)]
            expect(airtimes == sorted(airtimes) and airtimes[0] > 0, f"airtimes are {airtimes}")
            left = budget.left(one.device.now())
            expect(0 <= left <= budget.limit, f"{left} s are left of {budget.limit} s")

    @rule(131, needs=(130, 50), when=(BUDGET, BUS))
    async def test_budget_kept(self) -> None:
        """What would exceed the budget is BudgetSpent with nothing sent: no window ever holds more than the limit."""
        async with self.running() as (one, other):
            await self._spend(one)
            member = Member(await one.broadcast.bus(), one.device)
            listener = Member(await other.broadcast.bus(), other.device)
            async with self.subscribed(listener) as events:
                await self._refused_now(member, "the budget was spent")
                self.let_pass(one.device, 1.01 * one.metered.budget().window)
                async with self.publishing(member, b"a window later"):
                    heard = await self.hear(events, b"a window later")
                expect(b"too much" not in heard, "it was sent although the budget was spent")

    @rule(132, needs=(131,), when=(BUDGET, BUS))
    async def test_budget_allowed_at(self) -> None:
        """`allowed_at` says when a datagram may go: then it does, and where it can never go, inf."""
        async with self.running(1) as (one,):
            await self._spend(one)
            budget, now = one.metered.budget(), one.device.now()
            size = min(20, (await one.broadcast.bus()).traits.mtu)
            at = budget.allowed_at(size, now)
            expect(
                now < at <= now + 1.01 * budget.window, f"it may go in {at - now:.1f} s, the window is {budget.window}"
            )
            self.let_pass(one.device, at - now + 0.01 * budget.window)
            await self._publish(Member(await one.broadcast.bus(), one.device), b"x" * size)

    @rule(133, needs=(131,), when=(BUDGET, BUS))
    async def test_budget_restart(self) -> None:
        """A restart gives no airtime back: what was sent before it counts."""
        async with self.stage() as stage:
            one = await stage.start(0)
            await self._spend(one)
            await stage.stop(one)
            again = await stage.start(0)
            member = Member(await again.broadcast.bus(), again.device)
            await self._refused_now(member, "the budget was spent before the restart")

    @rule(134, needs=(131,), when=(BUDGET, BUS))
    async def test_budget_clock_back(self) -> None:
        """A clock that is set back gives no airtime back."""
        async with self.running(1) as (one,):
            await self._spend(one)
            one.device.clock_moved -= 2 * one.metered.budget().window
            member = Member(await one.broadcast.bus(), one.device)
            await self._refused_now(member, "the budget was spent before the clock was set back")

    # What the checks do

    async def _publish(self, member: Member, data: bytes) -> None:
        topic = TOPIC if member.bus.traits.topics else None
        await member.bus.publish(data, topic=topic, priority=Priority.INTERACTIVE, deadline=None)

    async def _spend(self, running: Running) -> None:
        """Publish until the budget is spent."""
        member = Member(await running.broadcast.bus(), running.device)
        budget: Budget = running.metered.budget()
        size = member.bus.traits.mtu
        used = 0.0
        for _ in range(MOST_SENT):
            try:
                await self._publish(member, b"x" * size)
            except BudgetSpent:
                size //= 2
                if size == 0:
                    return
                continue
            used += budget.airtime(size)
            expect(used <= budget.limit * 1.0001, f"it sent {used:.2f} s in a window that allows {budget.limit} s")
        if math.isfinite(budget.limit):
            raise NotApplicable(f"a budget that {MOST_SENT} datagrams do not spend")

    async def _refused_now(self, member: Member, why: str) -> None:
        try:
            await self._publish(member, b"too much")
        except BudgetSpent:
            return
        raise AssertionError(f"it was sent although {why}")
