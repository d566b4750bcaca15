"""The configuration table `[plugins.my-radio]`."""

from __future__ import annotations

import attrs

PLACES = 16


@attrs.frozen(kw_only=True)
class MyRadioConfig:
    """What a person may set: devices that are to hear each other need the same channel. ValueError."""

    channel: int = attrs.field(default=26485, metadata={"doc": "which channel"})

    @channel.validator
    def _check(self, _: object, value: int) -> None:
        if not 1024 <= value <= 0xFFFF - PLACES:
            raise ValueError(f"channel: a number from 1024 to {0xFFFF - PLACES} is needed, not {value!r}")
