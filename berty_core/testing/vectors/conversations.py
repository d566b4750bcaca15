"""Whole recorded conversations over TCP: handshake, every transport message, every frame, every stream's bytes."""

from __future__ import annotations

from ...codec.base58 import encode_base58
from ...codec.varint import encode_varint
from ...crypto.keys import PrivateKey, encode_public
from ...protocol.noise import CipherState, NoiseTransport, encode_message
from ...protocol.yamux_stream import ACK, DATA, FIN, GO_AWAY, HEADER, PING, RST, SYN, VERSION, WINDOW_UPDATE
from .known import Known
from .noise_handshakes import check_handshake
from .recording import Place
from .report import Report

_TYPES = {"data": DATA, "window": WINDOW_UPDATE, "ping": PING, "goaway": GO_AWAY}
_FLAGS = {"SYN": SYN, "ACK": ACK, "FIN": FIN, "RST": RST}
_DIRECTIONS = ("out", "in")


def check_conversations(report: Report, known: Known, root: Place) -> None:
    """Check a recorded conversation."""
    for connection in root["connections"]:
        with report.attempt("conversation: connection", connection):
            _connection(report, connection)


def _tokens(place: Place) -> bytes:
    """Multistream-select: each token behind its length."""
    texts = [token.text().encode() for token in place]
    return b"".join(encode_varint(len(text)) + text for text in texts)


def _connection(report: Report, place: Place) -> None:
    we_dial = {"dialer": True, "listener": False}[place["we"].text()]
    sides = dict(zip(_DIRECTIONS, ("dialer", "listener") if we_dial else ("listener", "dialer"), strict=True))
    send, receive = check_handshake(report, place["handshake"], place["our"]["identity_seed"])
    raw = {
        direction: b"".join(chunk[2].bytes() for chunk in place["chunks"] if chunk[0].text() == direction)
        for direction in _DIRECTIONS
    }
    handshake = place["handshake"]
    for direction in _DIRECTIONS:
        numbers = (1, 3) if (direction == "out") is we_dial else (2,)
        opening = _tokens(place["mss"][sides[direction]])
        opening += b"".join(encode_message(handshake[f"message_{number}"].bytes()) for number in numbers)
        kind = "conversation: negotiation and handshake"
        report.true(kind, place["mss"], raw[direction].startswith(opening), f"another beginning ({direction})")
        raw[direction] = raw[direction][len(opening) :]
    _peers(report, place)
    _keys(report, place, raw, we_dial)
    transport = NoiseTransport(send, receive)
    _messages(report, place, transport, raw)
    _frames(report, place, sides)
    for stream in place["streams"]:
        with report.attempt("conversation: stream", stream):
            _stream(report, place, stream)


def _peers(report: Report, place: Place) -> None:
    """Who talks: identities of both, our noise keys as the handshake has them."""
    kind, handshake = "conversation: peers", place["handshake"]
    ours, theirs = ("initiator", "responder") if place["we"].value == "dialer" else ("responder", "initiator")
    identity = encode_public(PrivateKey(place["our"]["identity_seed"].bytes()).public)
    report.equal(kind, place["our"]["identity_public_protobuf"], identity)
    report.equal(kind, place["our"]["peer_id"], encode_base58(b"\x00\x24" + identity))
    report.equal(kind, place["our"]["peer_id"], handshake[f"{ours}_peer_id"].text())
    report.equal(kind, place["peer"]["peer_id"], handshake[f"{theirs}_peer_id"].text())
    if place["peer"]["identity_public_protobuf"]:
        name = encode_base58(b"\x00\x24" + place["peer"]["identity_public_protobuf"].bytes())
        report.equal(kind, place["peer"]["peer_id"], name)
    for name in ("noise_static_private", "noise_ephemeral_private"):
        report.equal(kind, place["our"][name], handshake[f"our_{name[6:]}"].text())


def _keys(report: Report, place: Place, raw: dict[str, bytes], we_dial: bool) -> None:
    """The recorded transport keys seal the first message of each side."""
    for direction in _DIRECTIONS:
        there = (direction == "out") is we_dial
        key = place["handshake"]["key_initiator_to_responder" if there else "key_responder_to_initiator"]
        first = [item["plain"].bytes() for item in place["noise"] if item["dir"].value == direction][:1]
        if key and first:
            sealed = encode_message(CipherState(key.bytes()).encrypt(first[0]))
            report.true("conversation: transport keys", key, raw[direction].startswith(sealed), "of another channel")


def _messages(report: Report, place: Place, transport: NoiseTransport, raw: dict[str, bytes]) -> None:
    kind = "conversation: transport messages"
    plain = {
        direction: [item["plain"].bytes() for item in place["noise"] if item["dir"].text() == direction]
        for direction in _DIRECTIONS
    }
    tail = place["incomplete_tail"]["raw"]
    sent = b"".join(transport.send(message) for message in plain["out"])
    cut = len(raw["out"]) - (tail["out"].optional() or 0)
    report.true(kind, place["noise"], sent == raw["out"][:cut], "sealed again they are other bytes")
    received = transport.receive(raw["in"])
    report.true(kind, place["noise"], received == b"".join(plain["in"]), "opened they are other bytes")
    if tail["in"]:
        report.equal(kind, tail["in"], transport.pending)
    counts = dict.fromkeys(_DIRECTIONS, 0)
    for item in place["noise"]:
        direction = item["dir"].text()
        report.equal(kind, item["n"], counts[direction])
        counts[direction] += 1


def _frames(report: Report, place: Place, sides: dict[str, str]) -> None:
    """The plaintexts are the muxer's negotiation, if it was not settled early, and then frames."""
    for direction in _DIRECTIONS:
        data = b"" if place["muxer"]["early"].value else _tokens(place["muxer"][f"{sides[direction]}_tokens"])
        for frame in place["yamux"]:
            if frame["dir"].text() == direction:
                data += _frame(frame)
        plain = b"".join(item["plain"].bytes() for item in place["noise"] if item["dir"].value == direction)
        rest = place["incomplete_tail"]["yamux"][direction].optional() or 0
        same = data == plain[: len(plain) - rest]
        report.true("conversation: yamux frames", place["yamux"], same, f"encoded again they differ ({direction})")


def _frame(frame: Place) -> bytes:
    flags = 0
    for name in frame["flags"].text().replace("|", " ").replace("+", " ").replace(",", " ").split():
        flags |= _FLAGS[name]
    kind = _TYPES[frame["type"].text()]
    header = HEADER.pack(VERSION, kind, flags, frame["sid"].number(), frame["length"].number())
    return header + (frame["payload"].bytes() if frame["payload"] else b"")


def _stream(report: Report, place: Place, stream: Place) -> None:
    opener = stream["opened_by"].text()
    ours = opener == "us"
    number = stream["sid"].number()
    odd = ours is (place["we"].value == "dialer")  # the dialer's streams have odd numbers
    fits = opener in ("us", "peer") and number % 2 == odd
    report.true("conversation: stream", stream["opened_by"], fits, f"stream {number} cannot be of {opener}")
    for direction in _DIRECTIONS:
        side = "dialer" if (direction == "out") is ours else "listener"
        carried = b"".join(
            frame["payload"].bytes()
            for frame in place["yamux"]
            if frame["dir"].value == direction and frame["sid"].value == number and frame["payload"]
        )
        whole = _tokens(stream[f"negotiation_{side}"]) + (stream[direction].bytes() if stream[direction] else b"")
        kind = "conversation: stream"
        report.true(kind, stream, carried == whole, f"the frames carry other bytes ({direction})")
        _cut(report, stream, direction)
    protocol = stream["protocol"].optional()
    if protocol is not None:
        agreed = stream["negotiation_listener"].take()
        report.true("conversation: stream", stream["protocol"], f"{protocol}\n" in agreed, "it was not agreed on")


def _cut(report: Report, stream: Place, direction: str) -> None:
    """Recorded frames of a stream: offset of the payload, its length."""
    data = stream[direction].bytes() if stream[direction] else b""
    end = 0
    for frame in stream[f"{direction}_frames"]:
        offset, length = frame[0].number(), frame[1].number()
        prefix = encode_varint(length)
        good = offset == end + len(prefix) and data[end:offset] == prefix and offset + length <= len(data)
        report.true("conversation: delimited messages", frame, good, "no such message is there")
        end = offset + length
