"""Members of a group who share a bus: what one says all hear, and what somebody missed is asked for and said again.

A machine without I/O over the two logs of one group. Own entries go out at once; digests of heads follow by trickle;
who lacks something asks, who has it answers after a random moment unless another did (docs/reference/groupcast.md).
Invariant: whatever members say, memory is bounded and answers are paced.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Protocol

import attrs

from ...codec.cid import Cid
from ...crypto.kdf import hkdf_sha256
from ...errors import LocalProtocolError, RemoteProtocolError
from ..ancestry import not_descended_from
from ..compact_entries import ID_LENGTH, CompactLog, EntryCompactor, Unready, short_id
from ..group import LogKind
from ..trickle import Trickle
from .answers import Answer, Answers
from .confirmations import Confirmations
from .frames import (
    MAX_HEADS,
    DigestFrame,
    EntryFrame,
    Frame,
    HeadsOf,
    HeldFrame,
    NamedFrame,
    PartFrame,
    SinceFrame,
    UnheldFrame,
    WantFrame,
    encode_groupcast,
)
from .needs import Needs
from .parts import Name, Reassembly, indices, split_entry, stamp_of

BATCH = 64  # entries that one question is answered with
MAX_NAMED_HEADS = 8  # of ours, in a question
MAX_OLDER = 12  # entries at growing distances: the last is 2048 back
FEW_GAPS = 4  # entries that wait for each that is missing make it worth to ask for single ones
MAX_WAITING = 128  # entries whose parents are not here
MAX_WAITING_BYTES = 128 * 1024
SHORTEST, LONGEST = 16.0, 32768.0  # units: the intervals of the trickle
MAX_INTERVAL = 3600.0
REST = 1e-4  # seconds without another such question for each entry that one walked over: a member asks in few bytes
CACHED = 64


class Urgency(enum.IntEnum):
    """What goes first; the values are those of `Priority` in the bus contract."""

    INTERACTIVE = 0
    REPAIR = 1
    BACKGROUND = 2


@attrs.frozen
class Said:
    """A frame to put on the air; with the last one of an own entry, `completes` names it."""

    frame: bytes = attrs.field(repr=False)
    urgency: Urgency
    completes: tuple[LogKind, Cid] | None = None


@attrs.frozen
class EntryHeard:
    """A block that somebody sent; nothing about it is verified."""

    kind: LogKind
    block: bytes = attrs.field(repr=False)


@attrs.frozen
class HeldClaimed:
    """Somebody says that a device holds these messages; the signature is not checked yet."""

    claim: HeldFrame


@attrs.frozen
class Agreed:
    """Somebody has exactly the heads that we have."""


@attrs.frozen
class ConfirmationAsked:
    """Somebody asks who holds these messages."""

    names: tuple[bytes, ...]


GroupcastEvent = EntryHeard | HeldClaimed | ConfirmationAsked | Agreed


class GroupcastLog(CompactLog, Protocol):
    """What the machine reads of a log."""

    @property
    def heads(self) -> Mapping[Cid, int]:
        """Entries without a known child."""

    def block(self, cid: Cid) -> bytes | None:
        """The block of an entry."""

    def cids(self, *, reverse: bool = False) -> Iterator[Cid]:
        """All entries in the log's order, or against it."""


@attrs.frozen
class GroupcastPart:
    """One log with what shrinks its entries."""

    log: GroupcastLog
    compactor: EntryCompactor


@attrs.frozen
class _Waiting:
    """An entry in its compact form, and the parents that are missing."""

    data: bytes = attrs.field(repr=False)
    missing: tuple[bytes, ...]


class Groupcast:
    """One group on one bus.

    `room` is the bytes that a frame may have, `unit` (seconds) what a full datagram takes on the medium.
    """

    def __init__(
        self,
        parts: Mapping[LogKind, GroupcastPart],
        *,
        room: int,
        unit: float,
        entropy: Callable[[int], bytes],
        now: float,
    ) -> None:
        self._parts = parts
        self._room = room
        self._entropy = entropy
        longest = max(SHORTEST * unit, min(LONGEST * unit, MAX_INTERVAL))
        self._trickle = Trickle(SHORTEST * unit, longest, self._chance, now)
        self._needs = Needs(unit, self._chance)
        self._answers = Answers(unit, self._chance)
        self.confirmations = Confirmations(unit, self._chance, room)
        self._reassembly = Reassembly()
        self._waiting: OrderedDict[Name, _Waiting] = OrderedDict()
        self._named: dict[LogKind, int] = {}  # of how many single entries were lacking when they were asked for last
        self._shrunk: OrderedDict[tuple[LogKind, Cid, bool], bytes] = OrderedDict()
        self._said: deque[Said] = deque()
        self._rests_until = now

    def _chance(self) -> float:
        return int.from_bytes(self._entropy(4), "big") / (1 << 32)

    # -- our side ------------------------------------------------------------------------------

    def push(self, kind: LogKind, cid: Cid, now: float) -> None:
        """Say an own entry, which is stored, at once."""
        self.changed(now)
        self._say_entry(Answer(kind, cid), Urgency.INTERACTIVE, now, own=True)

    def changed(self, now: float) -> None:
        """The logs have something new, whoever brought it."""
        self.settled()
        self._trickle.disagree(now)

    def settled(self) -> None:
        """The logs have something new that nobody has to hear of soon."""
        self._needs.settle(self._is_here)

    def stored(self, kind: LogKind, missing: Iterable[Cid], now: float) -> list[EntryHeard]:
        """What was heard is stored, within the open transaction; entries that waited for it and can be made now.

        `missing` are ancestors that even entries which stand alone still wait for.
        """
        self._needs.lack(kind, map(short_id, missing), now)
        made = []
        for name in [name for name in self._waiting if name[0] is kind]:
            if (event := self._make(name, self._waiting.pop(name).data, now)) is not None:
                made.append(event)
        self._needs.settle(self._is_here)
        return made

    def take(self) -> list[Said]:
        """What is to be said now."""
        said = list(self._said)
        self._said.clear()
        return said

    def timeout(self) -> float:
        """When `wake` wants to be called."""
        times = (self._needs.timeout(), self._answers.timeout(), self.confirmations.timeout())
        return min([self._trickle.timeout(), *(time for time in times if time is not None)])

    def wake(self, now: float) -> None:
        """Say what is due."""
        if self._trickle.wake(now) and not self._needs.lacking:  # a question names our heads too
            self._say(self._digest(), Urgency.BACKGROUND)
        logs, names = self._needs.due(now)
        for kind in logs:
            self._say(self._question(kind), Urgency.REPAIR)
        for name in names:
            partial = self._reassembly.get(name)
            want = (partial.stamp, partial.missing) if partial else (0, b"")
            self._say(WantFrame(*name, *want), Urgency.REPAIR)
        if (answer := self._answers.next(now)) is not None:
            self._answers.sent(self._say_entry(answer, Urgency.REPAIR, now), now)
        if unheld := self.confirmations.questions(now):
            self._say(UnheldFrame(tuple(map(short_id, unheld))), Urgency.REPAIR)

    def confirm(self, held: HeldFrame) -> None:
        """Say that this device has messages."""
        self._say(held, Urgency.REPAIR)

    # -- the others' side ----------------------------------------------------------------------

    def receive(self, frame: Frame, now: float) -> list[GroupcastEvent]:
        """Take in what a member said."""
        match frame:
            case EntryFrame(kind, name, data):
                return self._receive_entry((kind, name), data, now)
            case PartFrame():
                return self._receive_part(frame, now)
            case DigestFrame():
                return self._receive_digest(frame, now)
            case SinceFrame():
                self._receive_question(frame, now)
            case NamedFrame(kind, names):
                self._receive_names(kind, names, now)
            case WantFrame():
                self._receive_want(frame, now)
            case HeldFrame():
                return [HeldClaimed(frame)]
            case UnheldFrame(names):
                return [ConfirmationAsked(names)]
        return []

    def _receive_part(self, part: PartFrame, now: float) -> list[GroupcastEvent]:
        name = (part.log, part.name)
        self._answers.heard(name, now, part.index)
        if self._is_here(name):
            return []
        data = self._reassembly.add(part)
        self._needs.came(part.log, now)
        if data is None:
            self._needs.want(name, now)
            return []
        return self._receive_entry(name, data, now)

    def _receive_entry(self, name: Name, data: bytes, now: float) -> list[GroupcastEvent]:
        self._answers.heard(name, now)
        self._needs.came(name[0], now)
        if self._is_here(name):
            return []
        self._reassembly.forget(name)
        event = self._make(name, data, now)
        return [] if event is None else [event]

    def _make(self, name: Name, data: bytes, now: float) -> EntryHeard | None:
        """Make a block, or keep what came until its parents are here."""
        kind, digest = name
        try:
            block = self._parts[kind].compactor.expand(digest, data)
        except Unready as error:
            self._keep(name, _Waiting(data, error.missing))
            self._needs.lack(kind, [parent for parent in error.missing if (kind, parent) not in self._waiting], now)
            if not error.missing:
                self._needs.want(name, now)
            return None
        except RemoteProtocolError:
            self._needs.want(name, now)  # for a form that stands alone
            return None
        self._needs.forget(name)
        return EntryHeard(kind, block)

    def _keep(self, name: Name, waiting: _Waiting) -> None:
        self._waiting[name] = waiting
        while len(self._waiting) > MAX_WAITING or sum(len(w.data) for w in self._waiting.values()) > MAX_WAITING_BYTES:
            self._waiting.popitem(last=False)

    def _receive_digest(self, digest: DigestFrame, now: float) -> list[GroupcastEvent]:
        if digest == self._digest():
            self._trickle.agree()
            return [Agreed()]
        for kind, heads in ((LogKind.METADATA, digest.metadata), (LogKind.MESSAGES, digest.messages)):
            self._compare(kind, heads.names, now)
        self._trickle.disagree(now)
        return []

    def _compare(self, kind: LogKind, names: tuple[bytes, ...], now: float) -> None:
        """Note the heads of somebody that are not here."""
        self._needs.lack(kind, [name for name in names if not self._is_here((kind, name))], now)

    def _receive_question(self, question: SinceFrame, now: float) -> None:
        kind = question.log
        self._needs.asked_by_another(kind, now)
        self._compare(kind, question.heads, now)
        if now < self._rests_until:
            return  # who still lacks something asks again
        log = self._parts[kind].log
        known = [cid for name in question.heads + question.older for cid in log.starting_with(name)[:1]]
        missing = not_descended_from(log, log.heads, known) if known else list(islice(log.cids(), BATCH))
        self._rests_until = now + REST * len(missing)
        for cid in missing[:BATCH]:
            self._answers.add(Answer(kind, cid), now)

    def _receive_names(self, kind: LogKind, names: tuple[bytes, ...], now: float) -> None:
        self._needs.asked_by_another(kind, now)
        log = self._parts[kind].log
        for cid in [cid for name in names for cid in log.starting_with(name)[:1]]:
            self._answers.add(Answer(kind, cid), now)

    def _receive_want(self, want: WantFrame, now: float) -> None:
        found = self._parts[want.log].log.starting_with(want.name)
        parts = indices(want.missing)
        for cid in found[:1]:
            if parts:
                self._answers.add(Answer(want.log, cid, parts, want.stamp), now)
            elif not want.missing:
                self._answers.add(Answer(want.log, cid, alone=True), now)

    # -- saying --------------------------------------------------------------------------------

    def _say(self, frame: Frame, urgency: Urgency) -> None:
        self._said.append(Said(encode_groupcast(frame), urgency))

    def _say_entry(self, answer: Answer, urgency: Urgency, now: float, *, own: bool = False) -> int:
        """Say an entry, or pieces of it; how many datagrams that takes."""
        data = self._shrink(answer)
        if data is None:
            return 0
        name = (answer.kind, short_id(answer.cid))
        try:
            frames = split_entry(name, data, self._room)
        except LocalProtocolError:
            return 0  # too long for any bus: it goes over links
        wanted = answer.parts if answer.parts is not None and answer.stamp == stamp_of(data) else None
        chosen = [frame for index, frame in enumerate(frames) if wanted is None or index in wanted]
        for index, frame in enumerate(chosen):
            last = own and index == len(chosen) - 1
            self._said.append(Said(encode_groupcast(frame), urgency, (answer.kind, answer.cid) if last else None))
        if own:
            self._answers.heard(name, now)
        return len(chosen)

    def _shrink(self, answer: Answer) -> bytes | None:
        key = (answer.kind, answer.cid, answer.alone)
        if key not in self._shrunk:
            part = self._parts[answer.kind]
            block = part.log.block(answer.cid)
            if block is None:
                return None
            self._shrunk[key] = part.compactor.shrink(block, alone=answer.alone)
            if len(self._shrunk) > CACHED:
                self._shrunk.popitem(last=False)
        return self._shrunk[key]

    def _digest(self) -> DigestFrame:
        return DigestFrame(*(self._heads(self._parts[kind].log) for kind in LogKind))

    @staticmethod
    def _heads(log: GroupcastLog) -> HeadsOf:
        heads = sorted(log.heads, key=lambda cid: (log.heads[cid], cid.digest), reverse=True)
        if len(heads) <= MAX_HEADS:
            return HeadsOf(tuple(map(short_id, heads)))
        every = hkdf_sha256(b"".join(cid.digest for cid in heads), b"berty heads", ID_LENGTH)
        return HeadsOf(tuple(map(short_id, heads[:MAX_HEADS])), bytes(every))

    def _question(self, kind: LogKind) -> Frame:
        """Ask for single entries where their descendants came, as long as that helps, and for all that follows else."""
        waiting = [each.missing for (log, _), each in self._waiting.items() if log is kind]
        gaps = [name for name in dict.fromkeys(chain.from_iterable(waiting)) if (kind, name) not in self._waiting]
        gaps = [name for name in gaps if not self._is_here((kind, name))]
        if gaps and len(waiting) >= FEW_GAPS * len(gaps) and len(gaps) < self._named.get(kind, MAX_WAITING + 1):
            self._named[kind] = len(gaps)
            return NamedFrame(kind, tuple(gaps[: (self._room - 1) // ID_LENGTH]))
        self._named.pop(kind, None)
        return self._what_follows(kind)

    def _what_follows(self, kind: LogKind) -> SinceFrame:
        """Heads, and the entries 1, 2, 4 ... 2048 back, as many as there is room for."""
        log = self._parts[kind].log
        heads = tuple(map(short_id, sorted(log.heads, key=log.heads.__getitem__, reverse=True)[:MAX_NAMED_HEADS]))
        room = (self._room - 2) // ID_LENGTH - len(heads)
        newest = list(islice(log.cids(reverse=True), 1 << MAX_OLDER))
        back = [newest[(1 << step) - 1] for step in range(MAX_OLDER) if 1 << step <= len(newest)]
        older = [name for name in dict.fromkeys(map(short_id, back)) if name not in heads]
        return SinceFrame(kind, heads, tuple(older[-room:] if room < len(older) else older))

    def _is_here(self, name: Name) -> bool:
        kind, digest = name
        return bool(self._parts[kind].log.starting_with(digest))
