"""What one transport used, held against the quotas of its policy. Invariant: a restart gives nothing back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...crypto.keys import Secret
from ...protocol.quotas import DAY, HOUR, Ledger, decode_ledgers, encode_ledgers
from ...protocol.ranking import Policy

RECORD = "used"
KEEP_SHARE = 0.01  # of a quota that may be used before it is written down


class Settings(Protocol):
    """Where it is kept: `DeviceSettings`."""

    async def get(self, name: str) -> Secret | None:
        """A value that was kept."""

    async def put(self, name: str, value: bytes) -> None:
        """Keep a value durably."""


class Usage:
    """Bytes both ways and messages sent in any day, and airtime in any hour; only what has a quota is counted."""

    def __init__(self, policy: Policy, settings: Settings, now: Callable[[], float]) -> None:
        amounts = {
            "bytes": (float(policy.bytes_per_day), DAY, f"{policy.bytes_per_day} bytes a day"),
            "messages": (float(policy.messages_per_day), DAY, f"{policy.messages_per_day} messages a day"),
            "airtime": (policy.airtime_per_hour, HOUR, f"{policy.airtime_per_hour:g} s on the air an hour"),
        }
        self._limits = {name: limit for name, limit in amounts.items() if limit[0]}
        self._ledgers = {name: Ledger(window) for name, (_, window, _) in self._limits.items()}
        self._unkept = dict.fromkeys(self._limits, 0.0)
        self._settings = settings
        self._now = now
        self._is_loaded = not self._limits

    async def load(self) -> None:
        """Take up what was used before this start; what was used since is added to it."""
        if self._is_loaded:
            return
        kept = await self._settings.get(RECORD)
        windows = {name: window for name, (_, window, _) in self._limits.items()}
        early, self._ledgers = self._ledgers, decode_ledgers(bytes(kept) if kept else b"", windows)
        for name, ledger in early.items():
            if amount := ledger.used(self._now()):
                self._ledgers[name].add(amount, self._now())
        self._is_loaded = True

    def add(self, *, sent: int, received: int, messages: int, airtime: float) -> None:
        """Count what passed: bytes, messages, and seconds on the air."""
        amounts = {"bytes": float(sent + received), "messages": float(messages), "airtime": airtime}
        for name, ledger in self._ledgers.items():
            if amounts[name]:
                ledger.add(amounts[name], self._now())
                self._unkept[name] += amounts[name]

    def spent(self) -> tuple[str, ...]:
        """The quotas that are used up, in words."""
        now = self._now()
        limits = self._limits.items()
        return tuple(words for name, (limit, _, words) in limits if self._ledgers[name].used(now) >= limit)

    def free_at(self) -> float:
        """When all quotas have something left again, if nothing is used until then (Unix seconds)."""
        now = self._now()
        times = [self._ledgers[name].free_at(limit, now) for name, (limit, _, _) in self._limits.items()]
        return max(times, default=now)

    def view(self) -> dict[str, dict[str, float]]:
        """Used and allowed amounts by name."""
        now = self._now()
        return {
            name: {"used": self._ledgers[name].used(now), "limit": limit}
            for name, (limit, _, _) in self._limits.items()
        }

    @property
    def is_limited(self) -> bool:
        """Whether there is any quota."""
        return bool(self._limits)

    @property
    def wants_keeping(self) -> bool:
        """Whether enough was used to be written down."""
        return any(self._unkept[name] >= limit * KEEP_SHARE for name, (limit, _, _) in self._limits.items())

    async def keep(self) -> None:
        """Write down what was used since the last time; cancelled or failed, it is still to be written."""
        if not self._is_loaded or not any(self._unkept.values()):
            return
        unkept, self._unkept = self._unkept, dict.fromkeys(self._limits, 0.0)
        try:
            await self._settings.put(RECORD, encode_ledgers(self._ledgers))
        except BaseException:  # also cancelled, when the node stops; it is raised again
            for name, amount in unkept.items():
                self._unkept[name] += amount
            raise
