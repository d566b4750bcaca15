"""Make the vectors of datagram links again: python -m tests.generate_datagram_vectors, after a change on purpose.

`tests/protocol/test_datagram_vectors.py` makes them again and compares, and reads them with code that shares nothing
with `berty_core`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from berty_core.protocol.arq.stream import ReliableStream
from berty_core.protocol.arq.tuning import Tuning
from berty_core.protocol.arq.wire import Abort, Accept, Ack, Acknowledgement, Data, Open, encode
from berty_core.protocol.fragments import Fragments

from .protocol.lossy import End, Lab

PATH = Path(__file__).parent / "vectors" / "datagrams" / "datagrams.json"
TUNING = Tuning.for_medium(mtu=64, bitrate=1e6, latency=0.01)
LOST = (4, 7)  # of what each end sends, counted from 0
SAID = (b"from the initiator: " * 12, b"from the responder: " * 7)
Json = dict[str, Any]


def build() -> Json:
    """The whole file."""
    return {"messages": messages(), "conversation": conversation(), "fragments": fragments()}


def messages() -> list[Json]:
    """Each kind of datagram."""
    one, other = bytes.fromhex("a1a2a3"), bytes.fromhex("b1b2b3")
    cases = {
        "open": Open(one, 233, 255),
        "accept": Accept(one, other, 233, 255),
        "data": Data(other, 0, b"hello"),
        "data, the last": Data(other, 65535, b"bye", end=True),
        "the end without data": Data(other, 7, b"", end=True),
        "data with an acknowledgement": Data(other, 1, b"hello", ack=Ack(3, 255)),
        "data with an acknowledgement and a map": Data(other, 1, b"hello", ack=Ack(3, 250, b"\x05\x80"), ask=True),
        "acknowledgement": Acknowledgement(one, Ack(258, 255)),
        "acknowledgement with a map": Acknowledgement(one, Ack(258, 200, b"\x02\x01")),
        "question": Acknowledgement(one, Ack(0, 0), ask=True),
        "abort": Abort(other, one),
    }
    return [{"name": name, "datagram": encode(message).hex()} for name, message in cases.items()]


def conversation() -> Json:
    """A stream both ways, of which some datagrams are lost, from the first datagram to the last."""
    ends = [_end(initiator) for initiator in (True, False)]
    lab = Lab(*ends)
    wire: list[Json] = []
    for number, end in enumerate(ends):

        def fate(datagram: bytes, number: int = number) -> list[float]:
            lost = sum(one["from"] == number for one in wire) in LOST
            wire.append({"from": number, "time": round(lab.now, 6), "datagram": datagram.hex(), "lost": lost})
            return [] if lost else [0.01]

        end.fate = fate
    lab.run(lambda: all(end.machine.is_done and end.machine.has_ended for end in ends))  # type: ignore[attr-defined]
    return {"mtu": TUNING.mtu, "said": [said.hex() for said in SAID], "wire": wire}


def _end(initiator: bool) -> End:
    entropy = random.Random("initiator" if initiator else "responder").randbytes
    machine = ReliableStream(initiator=initiator, tuning=TUNING, entropy=entropy, now=0.0)
    return End(machine, lambda _: [0.01], SAID[not initiator])


def fragments() -> Json:
    """A short stream over datagrams of 20 bytes that are never lost."""
    end = Fragments(mtu=20)
    end.push(SAID[1], 0.0)
    end.finish()
    datagrams = []
    while (datagram := end.take(0.0)) is not None:
        datagrams.append(datagram.hex())
    return {"mtu": 20, "said": SAID[1].hex(), "datagrams": datagrams}


def main() -> None:
    """Write the file."""
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(json.dumps(build(), indent=1) + "\n")


if __name__ == "__main__":
    main()
