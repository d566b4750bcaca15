"""Where our verdict on foreign bytes knowingly differs from Go's, by name and with the reason."""

from __future__ import annotations

import re

import attrs


@attrs.frozen
class Deviation:
    """One difference of verdict. `error` matches our own refusal; laxer ones have no error and a test of their own."""

    name: str
    kind: str
    stricter: bool
    reason: str
    error: str = ""


DEVIATIONS = (
    Deviation(
        "foreign-key",
        "entry",
        True,
        "Go ties an entry's key to nothing; only the group's own signing key may write (Wesh protocol, 2.9, 14.19)",
        "signed by a key that is not the group's",
    ),
    Deviation(
        "other-version", "entry", True, "only version 2 is written since years; Go joins any", "an entry of version"
    ),
    Deviation("other-log", "entry", True, "Go joins entries that name another log into this one", "of another log"),
    Deviation(
        "not-canonical",
        "entry",
        True,
        "a block that encodes differently has two CIDs; Go refuses it as a head and takes it as an ancestor",
        "not canonical DAG-CBOR|hexadecimal|other keys than those of version 2|unknown keys",
    ),
    Deviation(
        "null-lists",
        "entry",
        True,
        "an absent list is written as an empty one; Go keeps null, with another CID (IPFS log, 1.2)",
        "links must be a list",
    ),
    Deviation(
        "null-head",
        "heads_json",
        True,
        "null in a list of heads crashed or confused readers; a list of heads holds entries",
        "null|head",
    ),
    Deviation(
        "payload-not-text",
        "entry",
        True,
        "bytes that are no UTF-8 are signed differently by versions of Go (IPFS log, 1.4, trap 1)",
        "not canonical DAG-CBOR",
    ),
    Deviation("older-versions", "entry", True, "blocks of versions 0 and 1 belong to stock logs, never to groups"),
)


def known_deviation(kind: str, error: str) -> Deviation | None:
    """The deviation that explains why we refuse what Go accepts."""
    for deviation in DEVIATIONS:
        if deviation.kind == kind and deviation.error and re.search(deviation.error, error):
            return deviation
    return None
