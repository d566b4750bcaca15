"""The configuration table `[plugins.unix]`."""

from __future__ import annotations

import attrs

LONGEST = 80  # bytes; with a name behind it the path fits into a socket's address


@attrs.frozen(kw_only=True)
class UnixConfig:
    """What a person may set: devices that are to hear each other need the same directory. ValueError."""

    directory: str = attrs.field(default="", metadata={"doc": "where the sockets are; empty: it does not run"})

    @directory.validator
    def _check(self, _: object, value: str) -> None:
        if (value and value[0] != "/") or len(value.encode()) > LONGEST:
            raise ValueError(f"directory: an absolute path of at most {LONGEST} bytes is needed, not {value!r}")
