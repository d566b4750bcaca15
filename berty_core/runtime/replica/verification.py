"""Check blocks that peers sent, on worker threads: libsodium frees the interpreter lock while it verifies."""

from __future__ import annotations

from collections.abc import Sequence

import anyio.to_thread

from ...contracts.session import Verified
from ...errors import RemoteProtocolError
from ...ids import PublicKey
from ...protocol.entry import check_entry, decode_entry

INLINE = 4  # so few are checked where they are: a change of threads would cost more
CHUNK = 64


def verify_blocks(blocks: Sequence[bytes], log_id: str, signing_public: PublicKey) -> Verified:
    """Decode blocks and check that they belong to this log and are signed by the group."""
    entries, refused, reason = [], [], ""
    for block in blocks:
        try:
            entry = decode_entry(block)
            check_entry(entry, log_id, signing_public)
        except RemoteProtocolError as error:
            refused.append(block)
            reason = str(error)
        else:
            entries.append((entry, block))
    return Verified(tuple(entries), tuple(refused), reason)


async def verify_in_threads(blocks: Sequence[bytes], log_id: str, signing_public: PublicKey) -> Verified:
    """The same for many blocks, spread over threads; order is kept."""
    chunks = [blocks[start : start + CHUNK] for start in range(0, len(blocks), CHUNK)]
    results: list[Verified | None] = [None] * len(chunks)

    async def verify(number: int) -> None:
        results[number] = await anyio.to_thread.run_sync(verify_blocks, chunks[number], log_id, signing_public)

    async with anyio.create_task_group() as tasks:
        for number in range(len(chunks)):
            tasks.start_soon(verify, number)
    found = [result for result in results if result is not None]
    return Verified(
        tuple(pair for result in found for pair in result.entries),
        tuple(block for result in found for block in result.refused),
        next((result.reason for result in found if result.reason), ""),
    )
