"""What a transport used is held against its quotas, and a restart gives nothing back."""

from __future__ import annotations

import anyio
import pytest

from berty_core.crypto.keys import Secret
from berty_core.protocol.quotas import DAY
from berty_core.protocol.ranking import Policy
from berty_core.runtime.drivers.usage import Usage

pytestmark = pytest.mark.anyio


class Kept:
    """Settings in memory, as a home keeps them; `puts` counts how often something was written."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.puts = 0

    async def get(self, name: str) -> Secret | None:
        """A value."""
        return Secret(self.values[name]) if name in self.values else None

    async def put(self, name: str, value: bytes) -> None:
        """Keep one."""
        self.values[name] = value
        self.puts += 1


async def test_each_quota_by_its_own_measure() -> None:
    """Bytes both ways, messages that were sent, seconds on the air; each is told in words when it is used up."""
    policy = Policy(bytes_per_day=100, messages_per_day=3, airtime_per_hour=2.0)
    usage = Usage(policy, Kept(), lambda: 1.7e9)
    await usage.load()
    usage.add(sent=40, received=59, messages=1, airtime=0.5)
    assert usage.spent() == ()
    usage.add(sent=0, received=1, messages=0, airtime=0.0)
    assert usage.spent() == ("100 bytes a day",)
    usage.add(sent=0, received=0, messages=2, airtime=1.5)
    assert usage.spent() == ("100 bytes a day", "3 messages a day", "2 s on the air an hour")


async def test_a_restart_and_a_new_day() -> None:
    """What was used is there again after a restart, also what was used before it was read; a day later it is free."""
    now, kept, policy = 1.7e9, Kept(), Policy(bytes_per_day=100)
    first = Usage(policy, kept, lambda: now)
    await first.load()
    first.add(sent=60, received=0, messages=1, airtime=0.0)
    await first.keep()
    second = Usage(policy, kept, lambda: now)
    second.add(sent=40, received=0, messages=1, airtime=0.0)
    await second.load()
    assert second.spent() == ("100 bytes a day",)
    assert second.view() == {"bytes": {"used": 100.0, "limit": 100.0}}
    assert now < second.free_at() <= now + DAY * 1.1
    now += DAY * 1.1
    assert second.spent() == ()


async def test_what_could_not_be_written_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that stops in the middle of writing, or has a full disk, forgets nothing that was used."""
    kept, policy = Kept(), Policy(bytes_per_day=100)
    usage = Usage(policy, kept, lambda: 1.7e9)
    await usage.load()
    usage.add(sent=100, received=0, messages=1, airtime=0.0)

    async def wait(name: str, value: bytes) -> None:
        await anyio.sleep_forever()

    with monkeypatch.context() as patch, anyio.move_on_after(0.01):
        patch.setattr(kept, "put", wait)
        await usage.keep()
    await usage.keep()
    again = Usage(policy, kept, lambda: 1.7e9)
    await again.load()
    assert again.spent() == ("100 bytes a day",)
    await usage.keep()
    assert kept.puts == 1


async def test_without_a_quota_nothing_is_written() -> None:
    """Nor is it where nothing was used since the last time."""
    kept = Kept()
    free, limited = Usage(Policy(), kept, lambda: 1.7e9), Usage(Policy(bytes_per_day=100), kept, lambda: 1.7e9)
    for usage in (free, limited):
        await usage.load()
    free.add(sent=10**9, received=0, messages=1, airtime=0.0)
    await free.keep()
    await limited.keep()
    assert free.spent() == ()
    assert kept.puts == 0
