"""Rules 20 to 39: the life of a transport, from `run` to its cancellation, and what it leaves behind."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio

from ..contracts.transport import State
from ..errors import LinkLost, LocalProtocolError
from . import residue
from .conditions import DISCOVERS
from .hosts import OFFLINE, ONLINE
from .meeting import TransportChecks
from .rules import equal, expect, rule
from .stage import START, STOP, CancelledAt, Running, Stage, settle
from .talk import WAIT

SAID = (State.STARTING, State.ACTIVE, State.UNAVAILABLE, State.FAILED)
BLOCKED = 0.5  # seconds, times a patience above 1, that the event loop may stand still
AWAITS = 12
QUIET = 0.1  # seconds, times the patience, in which something that must not come would come


class LifeRules(TransportChecks):
    """Checks of `run`."""

    @rule(20, needs=(8,))
    async def test_life_starts(self) -> None:
        """`run` calls `started()` and says its state within 10 s, and goes on until it is cancelled."""
        async with self.stage() as stage:
            running = await stage.start(0)
            await anyio.lowlevel.checkpoint()
            running.check()
            self.verdict.passed()

    @rule(21, needs=(20,))
    async def test_life_stops(self) -> None:
        """Cancelled, `run` ends within 5 s and raises nothing but the cancellation."""
        async with self.stage() as stage:
            await stage.stop(await stage.start(0))

    @rule(22, needs=(21,))
    async def test_life_ready(self) -> None:
        """Once `started()` is called, every other call may be made at once."""
        async with self.stage() as stage:
            await self._use(await stage.begin(0))

    @rule(23, needs=(21,))
    async def test_life_states(self) -> None:
        """It says only starting, active, unavailable and failed; for the last two it gives reasons, in words."""
        async with self.stage() as stage:
            running = await stage.start(0)
            for network in (OFFLINE, ONLINE):
                running.device.surroundings.change(network)
                with anyio.move_on_after(0.05 * self.patience):
                    await running.host.changed()
            await self._use(running)
        for state, reasons in running.host.states:
            expect(state in SAID, f"it said {state}, which only the core says")
            words = all(isinstance(reason, str) and reason.strip() and reason.isprintable() for reason in reasons)
            expect(words, f"{reasons!r} are no words for a person")
            expect(state in (State.STARTING, State.ACTIVE) or bool(reasons), f"it said {state.name} and gave no reason")

    @rule(24, needs=(21,))
    async def test_life_runs_once(self) -> None:
        """A transport is run once: another `run`, during the first or after it, is a LocalProtocolError."""
        async with self.stage() as stage:
            running = await stage.start(0)
            await self._second_run(stage, running)
            await stage.stop(running)
            await self._second_run(stage, running)

    @rule(25, needs=(21,))
    async def test_life_no_task_left(self) -> None:
        """When `run` has ended, no task of the transport is left."""
        async with self.stage() as stage:
            before = residue.tasks()
            await self._lives(stage)
            equal([], await residue.gone(residue.tasks, before, self.patience))

    @rule(26, needs=(21,))
    async def test_life_no_thread_left(self) -> None:
        """When `run` has ended, no thread of the transport is left."""
        async with self.stage() as stage:
            await self._lives(stage)  # a library may keep one for all
            before = residue.threads()
            await self._lives(stage)
            equal([], await residue.gone(residue.threads, before, self.patience))

    @rule(27, needs=(21,))
    async def test_life_nothing_open(self) -> None:
        """When `run` has ended, nothing of the transport is open: no socket, file, pipe or child process."""
        async with self.stage() as stage:
            await self._lives(stage)
            before = residue.descriptors()
            await self._lives(stage)
            equal([], await residue.gone(residue.descriptors, before, self.patience))

    @rule(28, needs=(21,))
    async def test_life_process_untouched(self) -> None:
        """What belongs to the whole process is as before: directory, environment, signals, logging, defaults."""
        before = residue.process()
        async with self.stage() as stage:
            await self._use(await stage.start(0))
            during = residue.process()
        after = residue.process()
        equal([], [name for name in before if before[name] != during[name] or before[name] != after[name]])

    @rule(29, needs=(21,))
    async def test_life_loop_turns(self) -> None:
        """Nothing stops the event loop for 0.5 s: not the start, a call, a change of the network, or the end."""
        watch = residue.LoopWatch()
        async with self.stage() as stage:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch.run)
                running = await stage.start(0)
                await self._use(running)
                for network in (OFFLINE, ONLINE):
                    running.device.surroundings.change(network)
                    await settle()
                await stage.stop(running)
                await anyio.sleep(3 * watch.TICK)
                tasks.cancel_scope.cancel()
        expect(
            watch.longest < BLOCKED * max(1.0, self.patience), f"the event loop stood still for {watch.longest:.2f} s"
        )

    @rule(30, needs=(24, 25, 26, 27))
    async def test_life_cancelled_start(self) -> None:
        """`run` may be cancelled at any await of its start: it ends within 5 s and leaves nothing open."""
        async with self.stage() as stage:
            await self._lives(stage)
            for position in range(1, AWAITS):
                before = residue.descriptors()
                if not await self._cancel_start(stage, position):
                    break
                equal([], await residue.gone(residue.descriptors, before, self.patience))

    @rule(31, needs=(22,), when=(DISCOVERS,))
    async def test_life_discovery_ends(self) -> None:
        """When the transport has stopped, its streams of discovery end."""
        async with self.stage() as stage:
            running = await stage.start(0)
            async with running.links.discover() as events:
                await stage.stop(running)
                await stage.within(WAIT, "a stream of discovery went on", lambda: ended(events))

    @rule(32, needs=(22,))
    async def test_life_apart(self) -> None:
        """Two transports in one process share nothing: the end of one ends nothing of the other."""
        async with self.stage() as stage:
            one, other = await stage.start_all()
            await stage.stop(one)
            with anyio.move_on_after(QUIET * self.patience) as quiet:
                if not self.traits.discovers:
                    await other.ended.wait()
                else:
                    async with other.links.discover() as events:
                        await ended(events)
            other.check()
            expect(quiet.cancelled_caught, "a stream of the other one has ended")

    # What the checks do

    async def _use(self, running: Running) -> None:
        """Make every call that the traits declare."""
        traits = self.traits
        if traits.discovers:
            await self.show(running, self.beacon())
            async with running.links.discover():
                await self.show(running, None)
        if traits.broadcast:
            with suppress(LinkLost):
                await self.soon(running.broadcast.bus(), "`bus` did not return")
        if traits.budgeted:
            running.metered.budget()

    async def _lives(self, stage: Stage) -> None:
        """One short life, with all that a transport may open."""
        running = await stage.start(0)
        await self._use(running)
        await self.show(running, self.beacon())
        await stage.stop(running)

    async def _second_run(self, stage: Stage, running: Running) -> None:
        again = stage.launch(0, running.transport)
        with anyio.move_on_after(START * self.patience):
            await again.ended.wait()
        again.scope.cancel()
        expect(again.ended.is_set(), "a second `run` was not refused: it runs")
        if not isinstance(again.error, LocalProtocolError):
            raise AssertionError(f"a second `run` ended with {again.error!r}") from again.error
        stage.running.remove(again)

    async def _cancel_start(self, stage: Stage, position: int) -> bool:
        """Cancel a start at one await; whether it had not started before."""
        running = Running(self.create(stage.configs[0]), stage.devices[0])
        operation = CancelledAt(running.run(), position)
        ended = anyio.Event()

        async def start() -> None:
            await operation.run()
            ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(start)
            with anyio.move_on_after(START * self.patience):
                while not (ended.is_set() or running.started.is_set()):
                    await anyio.sleep(0.001)
            started = running.started.is_set() and not ended.is_set()
            running.scope.cancel()
            await stage.within(
                STOP, f"`run`, cancelled at await {position} of its start, did not end in 5 s", ended.wait
            )
        if running.error is not None:
            raise AssertionError(f"cancelled at await {position}, `run` raised {running.error!r}") from running.error
        return not started


async def ended(events: Any) -> None:
    """Read a stream until its end."""
    while True:
        try:
            await events.receive()
        except anyio.EndOfStream:
            return
