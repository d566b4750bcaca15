"""One thread for the replica: jobs queue up, those that wait together share one commit, then the loop is told.

Invariant: one thread at a time touches the replica and the sync machines, and nothing is sent before it is stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
from anyio.abc import TaskStatus

from .bus.hub import BusHub
from .bus.hub import Outgoing as Datagram
from .control_socket import NodeEnded
from .replica.effects import Effect
from .replica.replica import Replica
from .sessions.sync_hub import Outgoing, SyncHub, SyncPeer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
MAX_JOBS = 256


@attrs.define(eq=False)
class _Job:
    """Something to do, whether it writes, and what came of it."""

    function: Callable[[], Any]
    writes: bool
    durable: bool = True
    done: anyio.Event = attrs.field(factory=anyio.Event)
    result: Any = None
    error: BaseException | None = None


@attrs.frozen
class Outcome:
    """What the loop has to do after some jobs: send frames and datagrams, tell listeners, drop offenders."""

    outgoing: list[Outgoing]
    effects: list[Effect]
    offenders: list[tuple[SyncPeer, str]]
    timeout: float | None
    said: list[tuple[BusHub, list[Datagram]]] = attrs.field(factory=list)


class StoreWorker:
    """Owns the replica while it runs."""

    def __init__(
        self,
        replica: Replica,
        hub: SyncHub,
        effects: list[Effect],
        monotonic: Callable[[], float],
        deliver: Callable[[Outcome], None],
    ) -> None:
        self._replica = replica
        self._hub = hub
        self._effects = effects  # the replica's listener fills it after each commit
        self._monotonic = monotonic
        self._deliver = deliver
        self._jobs: deque[_Job] = deque()
        self._waiting = anyio.Event()
        self._limiter = anyio.CapacityLimiter(1)
        self._stopped = False

    async def read(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a function that changes nothing."""
        return await self._submit(lambda: function(*args), writes=False)

    async def write(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a function within a batch; when this returns, what it wrote is durable."""
        return await self._submit(lambda: function(*args), writes=True)

    async def write_cheaply(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """The same for what may be lost with the power and comes again by itself, such as a confirmation."""
        return await self._submit(lambda: function(*args), writes=True, durable=False)

    def post(self, function: Callable[[*Ts], object], *args: *Ts) -> None:
        """Run a function within a batch, and wait for nothing."""
        self._put(_Job(lambda: function(*args), writes=True))

    def touch(self) -> None:
        """Collect what is to be sent, without doing anything else."""
        self._put(_Job(lambda: None, writes=False))

    async def _submit(self, function: Callable[[], T], *, writes: bool, durable: bool = True) -> T:
        await anyio.lowlevel.checkpoint_if_cancelled()  # or a loop of writes could not be stopped
        job = _Job(function, writes, durable)
        self._put(job)
        with anyio.CancelScope(shield=writes):  # a commit cannot be called back; its outcome must be known
            await job.done.wait()
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def _put(self, job: _Job) -> None:
        if self._stopped:
            job.error = NodeEnded("the node has ended", untouched=True)
            job.done.set()
            return
        self._jobs.append(job)
        self._waiting.set()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve jobs until cancelled; those that were submitted before that are done first."""
        task_status.started()
        try:
            while True:
                await self._waiting.wait()
                await self._run_waiting()
        finally:
            with anyio.CancelScope(shield=True):
                while self._jobs:
                    await self._run_waiting()
            self._stopped = True

    async def _run_waiting(self) -> None:
        self._waiting = anyio.Event()
        jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), MAX_JOBS))]
        if self._jobs:
            self._waiting.set()
        try:
            with anyio.CancelScope(shield=True):
                outcome = await anyio.to_thread.run_sync(self._run_jobs, jobs, limiter=self._limiter)
            self._deliver(outcome)
        except Exception as error:
            for job in jobs:
                job.error = job.error or error  # nobody may take it for done
            raise
        finally:
            for job in jobs:
                job.done.set()

    def _run_jobs(self, jobs: list[_Job]) -> Outcome:
        segment: list[_Job] = []
        for job in jobs:
            if job.writes:
                segment.append(job)
                continue
            self._run_writes(segment)
            segment = []
            self._run_one(job)
        self._run_writes(segment)
        effects = list(self._effects)
        self._effects.clear()
        self._hub.spread(effects)
        now = self._monotonic()
        outgoing, sent = self._hub.collect(now)
        said = self._hub.speak(effects, now)
        return Outcome(outgoing, effects + sent, self._hub.offenders(), self._hub.timeout(), said)

    def _run_writes(self, jobs: list[_Job]) -> None:
        """All in one commit; if one of them fails, each on its own, so that it fails alone."""
        if not jobs:
            return
        try:
            with self._replica.batch(durable=any(job.durable for job in jobs)):
                for job in jobs:
                    job.result = job.function()
            self._hub.committed()
        except Exception as error:
            self._hub.rolled_back()
            if len(jobs) == 1:
                jobs[0].error = error
                return
            for job in jobs:
                self._run_writes([job])

    def _run_one(self, job: _Job) -> None:
        try:
            job.result = job.function()
        except Exception as error:
            job.error = error
