"""Settings as objects: every kind of type, tables within tables, and the line of each fault in them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from berty_core.settings.layers import Layers, read_environment, read_text
from berty_core.settings.structure import structure


class Mode(enum.Enum):
    """A choice by name."""

    FAST = "fast"
    SLOW = "slow"


def _positive(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value <= 0:
        raise ValueError(f"{attribute.name}: more than 0 is needed, not {value}")


@attrs.frozen(kw_only=True)
class Quota:
    """A table within the table."""

    bytes: int = attrs.field(default=1, validator=_positive)
    period: float = 3600.0


def _together(instance: Odd, attribute: attrs.Attribute[bool], value: bool) -> None:
    if value and instance.count == 13:
        raise ValueError("count: 13 does not go with `strict`")


@attrs.frozen(kw_only=True)
class Odd:
    """Settings of many types."""

    count: int = 0
    share: float = 0.5
    name: str | None = None
    level: Literal["low", "high"] = "low"
    mode: Mode = Mode.FAST
    directory: Path = Path("/none")
    names: tuple[str, ...] = ()
    quotas: Mapping[str, Quota] = attrs.field(factory=dict)
    single: Quota = Quota()
    strict: bool = attrs.field(default=False, validator=_together)


def made(text: str) -> tuple[Any, list[str]]:
    """The object and the faults of a table."""
    layers = read_text("f", f"[plugins.odd]\n{text}".encode())
    assert layers.faults == ()
    settings, faults = structure(Odd, ("plugins", "odd"), layers)
    return settings, [str(fault).removeprefix("f:").replace("[plugins.odd] ", "") for fault in faults]


def test_all_types() -> None:
    """Whatever fits comes out as its own type."""
    settings, faults = made(
        'count = 3\nshare = 1\nname = "x"\nlevel = "high"\nmode = "slow"\ndirectory = "/run"\nnames = ["a"]\n'
        "quotas.lora = { bytes = 7 }\n[plugins.odd.quotas.ble]\nperiod = 2\n[plugins.odd.single]\nbytes = 9\n"
    )
    assert faults == []
    assert settings == Odd(
        count=3,
        share=1.0,
        name="x",
        level="high",
        mode=Mode.SLOW,
        directory=Path("/run"),
        names=("a",),
        quotas={"lora": Quota(bytes=7), "ble": Quota(period=2.0)},
        single=Quota(bytes=9),
    )
    assert made("") == (Odd(), [])


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("count = true", ["2: count: a whole number is needed, not True"]),
        ("count = 1.5", ["2: count: a whole number is needed, not 1.5"]),
        ("share = '1'", ["2: share: a number is needed, not '1'"]),
        ("level = 'hihg'", ["2: level: one of 'low', 'high' is needed, not 'hihg', did you mean high?"]),
        ("mode = 'none'", ["2: mode: 'none' is not a valid Mode"]),
        ("names = 'a'", ["2: names: a list in [brackets] is needed, not 'a'"]),
        ("names = [\n'a',\n1]", ['2: names: a text in "quotes" is needed, not 1']),
        ("\n[plugins.odd.quotas.lora]\n\nbytes = 'x'", ["5: quotas.lora.bytes: a whole number is needed, not 'x'"]),
        ("[plugins.odd.single]\nbyts = 1", ["2: single: there is no such key: byts"]),
        ("quotas.a.bytes = -1\nquotas.b = 3", ["2: quotas.a: bytes: more than 0 is needed, not -1", "3: quotas.b: "]),
        ("count = 13\nstrict = true", ["2: count: 13 does not go with `strict`"]),
        ("cuont = 1\nshare = 'x'", ["2: cuont: there is no such key, did you mean count?", "3: share: a number"]),
    ],
)
def test_faults(text: str, faults: list[str]) -> None:
    """Each has its own line, also within tables of tables."""
    settings, found = made(text)
    assert settings is None
    assert len(found) == len(faults)
    for shown, wanted in zip(found, faults, strict=True):
        assert shown.startswith(wanted)


def test_a_key_within_a_key_by_a_variable() -> None:
    """Two underscores are a dot."""
    name = "BERTY_PLUGINS_ODD_QUOTAS__LORA__BYTES"
    layers = read_environment({name: "12"}, ["odd"], []).over(read_text("f", b"[plugins.odd.quotas.ble]\nbytes = 2"))
    settings, faults = structure(Odd, ("plugins", "odd"), layers)
    assert faults == ()
    assert settings.quotas == {"ble": Quota(bytes=2), "lora": Quota(bytes=12)}


def test_a_value_in_place_of_the_table() -> None:
    """A table is a table."""
    settings, (fault,) = structure(Odd, ("plugins", "odd"), read_text("f", b"plugins.odd = 3"))
    assert settings is None
    assert str(fault) == "f:1: [plugins.odd] this is a table, not a single value"
    assert structure(Odd, ("plugins", "odd"), Layers()) == (Odd(), ())
