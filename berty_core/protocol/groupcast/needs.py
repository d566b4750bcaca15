"""What this device lacks of one group, and when it asks the bus for it.

Who asks waits a random moment, since another may ask the same; who is answered waits until the answers end; who is not
answered waits longer each time, and in the end until the entry is named again. All of it is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import attrs

from ..group import LogKind
from .parts import Name

MAX_LACKING = 64
MAX_WANTED = 64
MAX_TRIES = 8
MOMENT = 4.0  # units within which one asks
PATIENCE = 12.0  # units that answers may take


@attrs.define
class _Asking:
    at: float
    tries: int = 0


class Needs:
    """Entries that were named and are not here (`lacking`, by log), and single ones that came in part (`wanted`)."""

    def __init__(self, unit: float, chance: Callable[[], float]) -> None:
        self._unit = unit
        self._chance = chance
        self._lacking: dict[LogKind, OrderedDict[bytes, None]] = {kind: OrderedDict() for kind in LogKind}
        self._since: dict[LogKind, _Asking] = {}
        self._wanted: OrderedDict[Name, _Asking] = OrderedDict()

    # -- what is lacking -----------------------------------------------------------------------

    def lack(self, kind: LogKind, names: Iterable[bytes], now: float) -> None:
        """Somebody has entries that are not here."""
        lacking = self._lacking[kind]
        for name in names:
            lacking[name] = None
            lacking.move_to_end(name)
            if len(lacking) > MAX_LACKING:
                lacking.popitem(last=False)
        if lacking and kind not in self._since:
            self._since[kind] = _Asking(self._soon(now))

    def want(self, name: Name, now: float) -> None:
        """Pieces of an entry came, or a form of it that cannot be read: the rest is asked for if it does not come."""
        known = self._wanted.get(name)
        at = now + self._unit * (MOMENT + self._chance() * MOMENT)
        if known is not None:
            known.at = max(known.at, at)
            return
        self._wanted[name] = _Asking(at)
        if len(self._wanted) > MAX_WANTED:
            self._wanted.popitem(last=False)

    def settle(self, is_here: Callable[[Name], bool]) -> None:
        """Forget what came."""
        for kind, lacking in self._lacking.items():
            for name in [name for name in lacking if is_here((kind, name))]:
                del lacking[name]
            if not lacking:
                self._since.pop(kind, None)
        for wanted in [wanted for wanted in self._wanted if is_here(wanted)]:
            del self._wanted[wanted]

    def came(self, kind: LogKind, now: float) -> None:
        """An entry of this log came: as long as answers come nothing is asked."""
        if (asking := self._since.get(kind)) is not None:
            asking.at = now + self._unit * (PATIENCE + self._chance() * MOMENT)
            asking.tries = 0

    def asked_by_another(self, kind: LogKind, now: float) -> None:
        """Somebody else asked for the same log: the answers may be enough."""
        if (asking := self._since.get(kind)) is not None:
            asking.at = max(asking.at, now + self._unit * (PATIENCE + self._chance() * MOMENT))

    def forget(self, name: Name) -> None:
        """An entry is no longer wanted by itself."""
        self._wanted.pop(name, None)

    @property
    def lacking(self) -> bool:
        """Whether a question for what follows is going to be asked."""
        return bool(self._since)

    # -- asking --------------------------------------------------------------------------------

    def timeout(self) -> float | None:
        """When `due` has something."""
        times = [asking.at for asking in (*self._since.values(), *self._wanted.values())]
        return min(times, default=None)

    def due(self, now: float) -> tuple[list[LogKind], list[Name]]:
        """Logs of which to ask what follows, and single entries to ask for, now."""
        logs = [kind for kind, asking in self._since.items() if asking.at <= now]
        names = [name for name, asking in self._wanted.items() if asking.at <= now]
        for kind in logs:
            if self._again(self._since[kind], now):
                del self._since[kind]
                self._lacking[kind].clear()
        for name in names:
            if self._again(self._wanted[name], now):
                del self._wanted[name]
        return logs, names

    def _again(self, asking: _Asking, now: float) -> bool:
        """Plan the next time; True if there is none."""
        asking.tries += 1
        asking.at = now + self._unit * PATIENCE * 2 ** min(asking.tries, 6) * (1 + self._chance()) / 2
        return asking.tries >= MAX_TRIES

    def _soon(self, now: float) -> float:
        return now + self._unit * self._chance() * MOMENT
