"""The contract of a check for `berty doctor`: it looks, changes nothing, and ends within five seconds.

What it finds says what is so, why that matters, and what to type.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs


class Level(enum.StrEnum):
    """How bad a finding is: a warning is worth knowing, a problem keeps something from working."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@attrs.frozen(kw_only=True)
class Finding:
    """What a check found. `command` is one that a person can type as it is; a finding that is ok needs none."""

    level: Level
    what: str
    why: str = ""
    command: str = ""


@attrs.frozen(kw_only=True)
class CheckHost:
    """What a check may know: the home (which may be absent), the plugin's settings by class, and whether a node runs.

    Settings that the file has wrong are the defaults here.
    """

    home: Path
    settings: Callable[[type], object]
    node_runs: bool


@attrs.frozen
class Check:
    """One thing to look at. `run` returns its findings; one that raises is reported as a problem of the plugin."""

    name: str
    run: Callable[[CheckHost], Sequence[Finding]]
