"""The key behind our peer id: sealed in the home, and replaced when its time is over."""

from __future__ import annotations

import attrs

from berty_core.contracts.session import ProfileHost
from berty_core.crypto.keys import PrivateKey

SETTING = "peer key"
HOUR = 3600.0


@attrs.frozen
class Identity:
    """A key, and for how many seconds from now it may be shown (None: for ever)."""

    key: PrivateKey
    left: float | None


async def identity(host: ProfileHost, hours: int) -> Identity:
    """The key of the running period, made anew if there is none; a clock that went back ends a period too."""
    stored = await host.setting(SETTING)
    lifetime = hours * HOUR
    if stored is not None and len(stored) == 40:
        age = host.now() - int.from_bytes(stored[32:], "big")
        if not hours or 0 <= age < lifetime:
            return Identity(PrivateKey(stored[:32]), lifetime - age if hours else None)
    key = PrivateKey(host.entropy(32))
    await host.put_setting(SETTING, bytes(key.seed) + int(host.now()).to_bytes(8, "big"))
    return Identity(key, lifetime if hours else None)
