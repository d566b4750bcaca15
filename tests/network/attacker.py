"""Somebody who reaches a device's port and lacks every key: python attacker.py HOST PORT ATTACK [ARGUMENT].

Prints one line of JSON: how many bytes came back over all its connections, and how many of them were closed by the
device. A tag is public, it is part of the advert.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

MAGIC = b"\xbe"
SECONDS = 20.0


async def converse(host: str, port: int, chunks: list[bytes], *, pause: float = 0.0) -> tuple[int, bool]:
    """Send, then listen until the other end closes; how many bytes came, and whether it closed."""
    received = 0
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return 0, True
    try:
        async with asyncio.timeout(SECONDS):
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
                await asyncio.sleep(pause)
            while data := await reader.read(65536):
                received += len(data)
        return received, True
    except TimeoutError:
        return received, False
    except OSError:
        return received, True
    finally:
        writer.transport.abort()


def garbage(tag: bytes) -> list[list[bytes]]:
    """Noise of several lengths, plain and behind what a session begins with; and other protocols' first words."""
    lengths = (1, 8, 9, 10, 64, 1024, 100_000)
    plain = [[os.urandom(length)] for length in lengths]
    behind = [[MAGIC + tag + os.urandom(length)] for length in lengths]
    unknown = [[MAGIC + os.urandom(8 + length)] for length in lengths]
    words = [[b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], [b"\x13/multistream/1.0.0\n"], [bytes(1 << 20)], [b"\xff" * 65536]]
    return plain + behind + unknown + words


def lengths(tag: bytes) -> list[list[bytes]]:
    """Announce messages of 2^31 bytes and the like."""
    numbers = (1 << 31, (1 << 31) - 1, (1 << 32) - 1)
    heads = [number.to_bytes(4, "big") for number in numbers] + [number.to_bytes(4, "little") for number in numbers]
    heads += [b"\x80\x80\x80\x80\x08", b"\xff\xff", b"\x04\x01"]
    return [[MAGIC + tag + head + os.urandom(64)] for head in heads] + [[head + os.urandom(64)] for head in heads]


def stalls(tag: bytes) -> list[list[bytes]]:
    """Stop in the middle of everything."""
    return [
        [],
        [MAGIC],
        [MAGIC + tag[:4]],
        [MAGIC + tag],
        [MAGIC + tag + b"\x00"],
        [MAGIC + tag + b"\x00\x30" + bytes(20)],
    ]


ATTACKS: dict[str, Callable[[bytes], list[list[bytes]]]] = {"garbage": garbage, "lengths": lengths, "stalls": stalls}


async def main() -> None:
    host, port, attack, argument = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    if attack == "replay":
        recorded = Path(argument).read_bytes()
        cut = random.Random(1).randrange(1, len(recorded))
        attempts = [[recorded], [recorded[:200]], [recorded[:cut], recorded[cut:]], [recorded, recorded]]
    elif attack == "crowd":
        attempts = stalls(bytes.fromhex(argument)) * 34  # 204 connections at once
    else:
        attempts = ATTACKS[attack](bytes.fromhex(argument))
    print(json.dumps({"began": len(attempts)}), flush=True)
    results = await asyncio.gather(*(converse(host, port, chunks) for chunks in attempts))
    print(json.dumps({"bytes": sum(n for n, _ in results), "closed": sum(c for _, c in results), "of": len(results)}))


asyncio.run(main())
