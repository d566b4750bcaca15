"""Where our verdict on foreign bytes knowingly differs from Go's, by name and with the reason."""

from __future__ import annotations

import re

import attrs


@attrs.frozen
class Deviation:
    """One difference of verdict: we refuse what Go accepts. `error` matches our refusal.

    `other_cid` limits it to blocks that Go itself names otherwise when it encodes them again.
    """

    name: str
    kind: str
    reason: str
    error: str = ""
    other_cid: bool = False


DEVIATIONS = (
    Deviation(
        "foreign-key",
        "entry",
        "Go ties an entry's key to nothing; only the group's own signing key may write (Wesh protocol, 2.9, 14.19)",
        "signed by a key that is not the group's",
    ),
    Deviation("other-version", "entry", "only version 2 is written since years; Go joins any", "an entry of version"),
    Deviation("other-log", "entry", "Go joins entries that name another log into this one", "of another log"),
    Deviation(
        "not-canonical",
        "entry",
        "a block that encodes differently has two CIDs; Go refuses it as a head and takes it as an ancestor",
        "DAG-CBOR|hexadecimal|other keys than those of version 2|unknown keys",
        other_cid=True,
    ),
    Deviation(
        "null-lists",
        "entry",
        "an absent list is written as an empty one; Go keeps null, with another CID (IPFS log, 1.2)",
        "links must be a list",
    ),
    Deviation(
        "payload-not-text",
        "entry",
        "bytes that are no UTF-8 are signed differently by versions of Go (IPFS log, 1.4, trap 1)",
        "DAG-CBOR",
    ),
    Deviation("older-versions", "entry", "blocks of versions 0 and 1 belong to stock logs, never to groups"),
)


def known_deviation(kind: str, error: str, *, same_cid: bool) -> Deviation | None:
    """The deviation that explains why we refuse what Go accepts."""
    for deviation in DEVIATIONS:
        if deviation.kind != kind or (deviation.other_cid and same_cid):
            continue
        if deviation.error and re.search(deviation.error, error):
            return deviation
    return None
