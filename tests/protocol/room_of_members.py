"""Members of one group in a room: machines over logs in memory, and air that loses, repeats and reorders."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import attrs

from berty_core.codec.cid import Cid
from berty_core.protocol.entry import decode_entry
from berty_core.protocol.group import LogKind
from berty_core.protocol.groupcast.frames import Frame, decode_groupcast, encode_groupcast
from berty_core.protocol.groupcast.machine import EntryHeard, Groupcast, GroupcastEvent, GroupcastPart, Said

from .logs_in_memory import ANN, MemoryLog, message

ROOM = 209  # bytes for a frame in a datagram of 233


@attrs.define(eq=False)
class Member:
    """One machine with its logs."""

    logs: dict[LogKind, MemoryLog]
    machine: Groupcast
    on: bool = True
    events: list[GroupcastEvent] = attrs.field(factory=list)
    counter: int = 0


class MemberRoom:
    """So many members; a full frame takes one second."""

    def __init__(
        self, count: int, seed: int = 0, *, loss: float = 0.0, repeat: float = 0.0, delay: float = 0.0, room: int = ROOM
    ) -> None:
        self.random = random.Random(seed)
        self.loss, self.repeat, self.delay, self.room = loss, repeat, delay, room
        self.now = 1000.0
        self.said: list[tuple[Member, Said, Frame]] = []
        self._under_way: list[tuple[float, int, Member, bytes]] = []
        self.members = [self.member() for _ in range(count)]

    def member(self) -> Member:
        """One more."""
        logs = {kind: MemoryLog(kind) for kind in LogKind}
        return Member(logs, self.machine(logs))

    def machine(self, logs: dict[LogKind, MemoryLog]) -> Groupcast:
        """A machine over these logs, as after a start."""
        parts = {kind: GroupcastPart(log, log.compactor()) for kind, log in logs.items()}
        return Groupcast(parts, room=self.room, unit=1.0, entropy=self.random.randbytes, now=self.now)

    def write(self, member: Member, text: bytes = b"exactly twenty bytes", *, push: bool = True) -> Cid:
        """A member writes a message."""
        member.counter += 1
        value = message(text, member.counter, ANN, self.random.randbytes(24))
        cid = member.logs[LogKind.MESSAGES].append(value)
        if push:
            member.machine.push(LogKind.MESSAGES, cid, self.now)
        return cid

    def hear(self, member: Member, data: bytes) -> None:
        """A frame comes to a member."""
        frame = decode_groupcast(data)
        if frame is None:
            return
        events = member.machine.receive(frame, self.now)
        while events:
            event = events.pop(0)
            member.events.append(event)
            if isinstance(event, EntryHeard):
                log = member.logs[event.kind]
                if log.add(event.block):
                    member.machine.changed(self.now)
                missing = [p for waiting in log.waiting.values() for p in _parents(waiting) if p not in log.blocks]
                events += member.machine.stored(event.kind, missing, self.now)

    def step(self) -> None:
        """Let everybody speak, and time move on to the next thing that is due."""
        for member in self.members:
            for said in member.machine.take():
                if member.on:
                    self._put(member, said)
        times = [member.machine.timeout() for member in self.members if member.on]
        times += [self._under_way[0][0]] if self._under_way else []
        self.now = max(self.now, min(times, default=self.now + 1))
        while self._under_way and self._under_way[0][0] <= self.now:
            _, _, member, data = heapq.heappop(self._under_way)
            if member.on:
                self.hear(member, data)
        for member in self.members:
            if member.on and member.machine.timeout() <= self.now:
                member.machine.wake(self.now)

    def _put(self, sender: Member, said: Said) -> None:
        assert len(said.frame) <= self.room
        frame = decode_groupcast(said.frame)
        assert frame is not None and encode_groupcast(frame) == said.frame
        self.said.append((sender, said, frame))
        for member in self.members:
            if member is sender or self.random.random() < self.loss:
                continue
            for _ in range(2 if self.random.random() < self.repeat else 1):
                at = self.now + len(said.frame) / self.room + self.random.random() * self.delay
                heapq.heappush(self._under_way, (at, len(self.said) * 1000 + len(self._under_way), member, said.frame))

    def until(self, condition: Callable[[], bool], steps: int = 20000) -> None:
        """Let time pass until something is so."""
        for _ in range(steps):
            if condition():
                return
            self.step()
        raise AssertionError(f"this did not come true in {steps} steps")

    def agree(self) -> bool:
        """Whether all who are on have the same entries."""
        heads = [[log.heads for log in member.logs.values()] for member in self.members if member.on]
        return all(one == heads[0] for one in heads)

    def count(self, kind: type[Frame]) -> int:  # type: ignore[valid-type]
        """How many frames of a kind were said."""
        return sum(isinstance(frame, kind) for _, _, frame in self.said)


def _parents(block: bytes) -> tuple[Cid, ...]:

    return decode_entry(block).next
