"""Names, addresses, negotiation and descriptions: good ones read and written, everything else refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from berty_libp2p.identify import (
    MAX_FRAME,
    Description,
    DescriptionReader,
    decode_description,
    encode_description,
)
from berty_libp2p.multiaddr import Multiaddr, Target
from berty_libp2p.multistream import HEADER, Offer, Proposal, encode_token
from berty_libp2p.pb import libp2p_pb2 as pb
from berty_libp2p.peers import PeerId, identity_of
from hypothesis import given
from hypothesis import strategies as st

from berty_core.codec.base58 import encode_base58
from berty_core.codec.frames import FrameReader
from berty_core.crypto.keys import PrivateKey, encode_public
from berty_core.errors import LocalProtocolError, RemoteProtocolError

PEER = "12D3KooWHhDBv6DJJ4XDWjzEXq6sVNEs6VuxsV1WyBBEhPENHzcZ"


def test_peer_ids_have_several_texts() -> None:
    """Base58 and the CID forms name the same peer, and its key is in the id."""
    peer = PeerId.parse(PEER)
    cid = b"\x01\x72" + peer
    number = int.from_bytes(cid, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    base32 = "b" + base64.b32encode(cid).decode().rstrip("=").lower()
    assert str(peer) == PEER
    assert [PeerId.parse(text) for text in ("k" + digits, base32, "z" + encode_base58(cid))] == [peer] * 3
    assert PeerId.of(peer.public) == peer == identity_of(encode_public(peer.public))
    assert repr(peer) == f"PeerId({PEER})"


@pytest.mark.parametrize(
    ("key", "words"),
    [(b"\x08\x00\x12\x01x", "RSA"), (b"\x08\x02\x12\x01x", "secp256k1"), (b"\x08\x03\x12\x01x", "ECDSA")],
)
def test_other_keys_are_refused_in_words(key: bytes, words: str) -> None:
    """RSA, secp256k1 and ECDSA peers are told apart from garbage."""
    with pytest.raises(RemoteProtocolError, match=words):
        identity_of(key)


def test_ids_of_other_keys_are_refused_in_words() -> None:
    """A hashed id is an RSA or ECDSA key's, an identity of another length a secp256k1 key's."""
    with pytest.raises(RemoteProtocolError, match="RSA"):
        PeerId.parse("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N")
    with pytest.raises(RemoteProtocolError, match="secp256k1"):
        PeerId(b"\x00\x25\x08\x02\x12\x21" + bytes(33))


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda data: b"\x00\x24\x08\x01\x12\x20" + data))
def test_any_bytes_are_a_peer_id_or_refused(data: bytes) -> None:
    """Binary ids: a value of 38 bytes, or RemoteProtocolError."""
    try:
        assert len(PeerId(data)) == PeerId.LENGTH
    except RemoteProtocolError:
        assert data[:6] != b"\x00\x24\x08\x01\x12\x20" or len(data) != 38


@given(st.text(max_size=150) | st.text("12QmDKoW3zkb7", max_size=60))
def test_any_text_is_a_peer_id_or_refused(text: str) -> None:
    """Texts: a value that reads back as itself, or RemoteProtocolError."""
    try:
        peer = PeerId.parse(text)
    except RemoteProtocolError:
        return
    assert PeerId.parse(str(peer)) == peer


# Binary forms from the table of protocol codes (multicodec "multiaddr").
ADDRESSES = [
    ("/ip4/127.0.0.1/tcp/1674", "047f00000106068a"),
    ("/ip6/2001:db8::1/udp/443/quic-v1", "2920010db8000000000000000000000001910201bbcd03"),
    ("/ip6zone/eth0/ip6/fe80::1/tcp/4001", "2a046574683029fe800000000000000000000000000001060fa1"),
    ("/dns4/example.org/tcp/80", "360b6578616d706c652e6f7267060050"),
    ("/ip4/10.0.0.7/tcp/1/p2p/" + PEER, "040a000007060001a50326" + PeerId.parse(PEER).hex()),
    ("/p2p-circuit", "a202"),
]


@pytest.mark.parametrize(("text", "data"), ADDRESSES)
def test_multiaddrs(text: str, data: str) -> None:
    """Text and bytes of each kind are the same address."""
    address = Multiaddr.parse(text)
    assert address.encode().hex() == data
    assert Multiaddr.decode(bytes.fromhex(data)) == address
    assert str(address) == text


def test_what_can_be_dialled() -> None:
    """Host and port of TCP and QUIC addresses; anything else is refused in words."""
    assert Multiaddr.parse(ADDRESSES[1][0]).target == Target("quic-v1", "2001:db8::1", 443)
    assert Multiaddr.parse(ADDRESSES[4][0]).target == Target("tcp", "10.0.0.7", 1)
    zoned = Multiaddr.parse(f"/ip6zone/eth0/ip6/fe80::1/udp/4001/quic-v1/p2p/{PEER}")
    assert zoned.target == Target("quic-v1", "fe80::1%eth0", 4001)
    assert Multiaddr.quic("fe80::1%eth0", 80) == Multiaddr.parse("/ip6/fe80::1/udp/80/quic-v1")
    with pytest.raises(RemoteProtocolError, match="cannot be dialled by TCP"):
        assert zoned.tcp_target
    assert Multiaddr.parse(ADDRESSES[0][0]).tcp_target == ("127.0.0.1", 1674)
    assert Multiaddr.parse(ADDRESSES[2][0]).tcp_target == ("fe80::1%eth0", 4001)
    assert Multiaddr.parse(ADDRESSES[3][0]).tcp_target == ("example.org", 80)
    assert Multiaddr.parse(ADDRESSES[4][0]).tcp_target == ("10.0.0.7", 1)
    assert Multiaddr.parse(ADDRESSES[4][0]).peer == PeerId.parse(PEER)
    assert Multiaddr.tcp("fe80::1%eth0", 80) == Multiaddr.parse("/ip6/fe80::1/tcp/80")
    rests = ("", "/udp/1", "/udp/1/quic", f"/tcp/1/p2p/{PEER}/p2p-circuit", "/tcp/1/quic-v1")
    others = (f"/p2p/{PEER}", "/tcp/1", "/ip6zone/eth0/ip4/1.2.3.4/tcp/1", "/p2p-circuit")
    for text in (*(f"/ip4/1.2.3.4{rest}" for rest in rests), *others):
        with pytest.raises(RemoteProtocolError, match="only TCP and QUIC v1"):
            assert Multiaddr.parse(text).target
    with pytest.raises(LocalProtocolError):
        Multiaddr.tcp("example.org", 80)


@pytest.mark.parametrize(
    "text",
    ["", "ip4/1.2.3.4", "/", "/ip4", "/ip4/1.2.3", "/ip4/::1", "/tcp/65536", "/tcp/x", "/tcp/-1", "/onion/abc",
     "/p2p/x", "/ip6zone//ip6/::1", "/ip4/1.2.3.4" * 17, "/dns/" + "x" * 1100],
)  # fmt: skip
def test_malformed_multiaddrs(text: str) -> None:
    """Each is refused, with what is wrong."""
    with pytest.raises(RemoteProtocolError):
        Multiaddr.parse(text)


@given(st.binary(max_size=80) | st.sampled_from(ADDRESSES).flatmap(
    lambda pair: st.binary(max_size=8).map(lambda tail: bytes.fromhex(pair[1])[: -len(tail) or None] + tail)
))  # fmt: skip
def test_any_bytes_are_a_multiaddr_or_refused(data: bytes) -> None:
    """A value that writes itself as it was read, or RemoteProtocolError."""
    try:
        address = Multiaddr.decode(data)
    except RemoteProtocolError:
        return
    assert Multiaddr.decode(address.encode()) == address
    assert Multiaddr.parse(str(address)) == address


@pytest.mark.parametrize("cut", [1, 3, 1000])
def test_negotiation(cut: int) -> None:
    """Two ends agree, however the bytes are cut: a no to what is not spoken, then a yes; what follows is not read."""
    offer = Offer(lambda protocol: protocol == "/noise")
    wire = encode_token(HEADER) + encode_token("/tls/1.0.0") + encode_token("/noise") + b"next"
    rest = b""
    for begin in range(0, len(wire), cut):
        offer.receive(wire[begin : begin + cut])
        rest += offer.rest() if offer.agreed else b""
    assert (offer.agreed, rest) == ("/noise", b"next")
    assert offer.take() == encode_token(HEADER) + b"\x03na\n" + encode_token("/noise")
    proposal = Proposal("/noise")
    assert proposal.take() == b"\x13/multistream/1.0.0\n\x07/noise\n"
    answer = encode_token(HEADER) + encode_token("/noise")
    for begin in range(0, len(answer), cut):
        assert proposal.agreed is None
        proposal.receive(answer[begin : begin + cut])
    assert (proposal.agreed, proposal.rest()) == ("/noise", b"")


def test_refused_negotiations() -> None:
    """A no, another protocol, no header, over-long and endless proposals each end it."""
    header = encode_token(HEADER)
    for answer, words in ((b"\x03na\n", "does not speak"), (encode_token("/other"), "answers")):
        with pytest.raises(RemoteProtocolError, match=words):
            Proposal("/noise").receive(header + answer)
    for start in (encode_token("/other"), b"\x00", b"\x81\x10", b"\x02ab", b"\x02\xff\n"):
        with pytest.raises(RemoteProtocolError):
            Offer(lambda _: True).receive(start)
    offer = Offer(lambda _: False)
    with pytest.raises(RemoteProtocolError, match="goes on"):
        offer.receive(header + encode_token("/x") * 100)
    with pytest.raises(LocalProtocolError):
        encode_token("/x\n/y")


@given(st.lists(st.binary(max_size=30) | st.just(encode_token(HEADER)) | st.just(encode_token("/noise")), max_size=8))
def test_any_bytes_negotiate_or_are_refused(chunks: list[bytes]) -> None:
    """Either end, whatever comes: an agreement, a wait or RemoteProtocolError; at most one token is kept."""
    ends: list[Any] = [Offer(lambda protocol: protocol == "/noise"), Proposal("/noise")]
    for end in ends:
        try:
            for chunk in chunks:
                end.receive(chunk)
        except RemoteProtocolError:
            continue
        assert end.agreed in (None, "/noise")
        assert end.agreed or len(end.rest()) <= 1026


KEY = PrivateKey(bytes(range(32)))
DESCRIPTION = Description(
    (Multiaddr.parse("/ip4/127.0.0.1/tcp/1"),), frozenset({"/b", "/a"}), "agent", Multiaddr.parse("/ip4/1.2.3.4/tcp/5")
)


def test_descriptions() -> None:
    """What one end says the other reads, in one frame or in several; unknown kinds of addresses are left out."""
    frame = encode_description(DESCRIPTION, encode_public(KEY.public))
    reader = DescriptionReader()
    for position in range(len(frame)):
        reader.feed(frame[position : position + 1])
    assert reader.end() == DESCRIPTION
    halves = (pb.Identify(protocols=[b"/a"]), pb.Identify(protocols=[b"/b"], listen_addrs=[b"\xff\xff\x03", b"\x04"]))
    reader = DescriptionReader()
    for half in halves:
        data = half.SerializeToString()
        reader.feed(bytes([len(data)]) + data)
    assert reader.end() == Description(protocols=frozenset({"/a", "/b"}))


def test_descriptions_that_end_early_or_are_too_long() -> None:
    """An unfinished frame, none at all, too many, or too large ones are refused."""
    frame = encode_description(DESCRIPTION, encode_public(KEY.public))
    for data in (b"", frame[:-1]):
        reader = DescriptionReader()
        reader.feed(data)
        with pytest.raises(RemoteProtocolError):
            reader.end()
    with pytest.raises(RemoteProtocolError, match="more than 8 frames"):
        DescriptionReader().feed(b"\x00" * 9)
    with pytest.raises(RemoteProtocolError):
        DescriptionReader().feed(b"\xff\xff\x7f")
    with pytest.raises(RemoteProtocolError):
        decode_description(pb.Identify(protocols=[b"/x"] * 501).SerializeToString())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_description_or_refused(data: bytes) -> None:
    """A value or RemoteProtocolError, wrong wire types included."""
    try:
        found = decode_description(data)
    except RemoteProtocolError:
        return
    assert len(FrameReader(MAX_FRAME).feed(encode_description(found, b""))) == 1
