"""Make the vectors of bundles again: python -m tests.generate_bundle_vectors, after a change on purpose.

`tests/protocol/test_bundle_vectors.py` makes them again and compares, and checks them with code that shares nothing
with `berty_core`.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from berty_core.codec.cid import Cid
from berty_core.crypto.keys import PrivateKey
from berty_core.protocol.bundle import (
    BundleKeys,
    Entries,
    Part,
    pack_blocks,
    padded_count,
    seal_entries,
    seal_padding,
    seal_part,
    seal_statement,
)
from berty_core.protocol.group import LogKind, new_group

from .protocol.conversation import Entropy

FILE = Path(__file__).parent / "vectors" / "bundle" / "chunks.json.gz"
TIME = 1_700_000_000_123
Json = dict[str, Any]


def build() -> Json:
    """One group, a chunk of each kind, and how counts are padded."""
    entropy = Entropy("bundle")
    group, _ = new_group(entropy)
    keys, device = BundleKeys.of(group.link_key), PrivateKey(entropy(32))
    return {
        "group": {
            "public_key": group.public_key.hex(),
            "secret": bytes(group.secret).hex(),
            "link_key": bytes(group.link_key).hex(),
            "tag_key": bytes(keys.tag).hex(),
            "seal_key": bytes(keys.seal).hex(),
        },
        "device": {"seed": bytes(device.seed).hex(), "public_key": device.public.hex()},
        "chunks": [
            _statement("a statement of a member", keys, entropy, group, device),
            _statement("a statement of a replica", keys, entropy, group, None),
            *_entries(keys, entropy),
            _chunk("padding", seal_padding(keys, entropy(24))),
        ],
        "padding": [[count, padded_count(count)] for count in (1, 4, 5, 63, 64, 65, 100, 1000, 1025, 100_000)],
    }


def _statement(what: str, keys: BundleKeys, entropy: Entropy, group: Any, device: PrivateKey | None) -> Json:
    heads = {kind: [Cid.of(b"head %d %d" % (kind, number)) for number in range(1 + kind)] for kind in LogKind}
    wanted = {LogKind.METADATA: [], LogKind.MESSAGES: [Cid.of(b"wanted")]}
    chunk = seal_statement(keys, entropy(24), group, device, heads, wanted, TIME)
    return {
        **_chunk(what, chunk),
        "heads": [[str(cid) for cid in heads[kind]] for kind in LogKind],
        "wanted": [[str(cid) for cid in wanted[kind]] for kind in LogKind],
        "device": device.public.hex() if device else None,
        "time": TIME if device else None,
    }


def _entries(keys: BundleKeys, entropy: Entropy) -> list[Json]:
    """Three small blocks in one chunk, and the last part of a large one."""
    small, large = [Entropy("block")(size) for size in (0, 23, 1500)], Entropy("large")(20_000)
    found = []
    for content in pack_blocks(LogKind.MESSAGES, [*small, large]):
        if isinstance(content, Entries):
            chunk = seal_entries(keys, entropy(24), content.kind, content.blocks)
            found.append({**_chunk("entries", chunk), "log": 1, "blocks": [block.hex() for block in content.blocks]})
    parts = [part for part in pack_blocks(LogKind.METADATA, [large]) if isinstance(part, Part)]
    last = parts[-1]
    described = {"log": 0, "cid": str(last.cid), "size": last.size, "offset": last.offset, "data": last.data.hex()}
    return [*found, {**_chunk("a part", seal_part(keys, entropy(24), last)), **described}]


def _chunk(what: str, chunk: bytes) -> Json:
    return {"what": what, "chunk": chunk.hex()}


def main() -> None:
    """Write the file."""
    FILE.parent.mkdir(exist_ok=True)
    text = json.dumps(build(), indent=1) + "\n"
    FILE.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{FILE}: {len(text)} bytes")


if __name__ == "__main__":
    main()
