"""Groups: the golden values of the specification, invitations, and strangers' groups."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.codec.cid import Cid
from berty_core.codec.pb import wesh_pb2 as pb
from berty_core.crypto.keys import PrivateKey, derive_shared_key, verify
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.ids import AccountId
from berty_core.protocol.group import (
    BERTY,
    WESH,
    Group,
    GroupKind,
    LogKind,
    Profile,
    account_group,
    contact_group,
    decode_group,
    encode_group,
    new_group,
)

A, B = PrivateKey(b"\x01" * 32), PrivateKey(b"\x02" * 32)


@pytest.fixture
def pair() -> Group:
    """The contact group of the specification's test values (Wesh protocol, section 2.8)."""
    return contact_group(A, AccountId(B.public))


def test_golden_contact_group(pair: Group) -> None:
    """Public key, secret, signing key and link key of section 2.8."""
    assert pair.public_key.hex() == "7d86a0e60b29362856dc41cc69afaeff71d527c3bf964429ed255fd3556dbdca"
    assert bytes(pair.secret).hex() == "8458854a07999ad648b450ba7fb9c15854df9b43c7a1d5d5ccd5054680eb6f4f"
    assert pair.signing_public.hex() == "4cb1574f6716def83cddf4c4a2e2fce9e66cb9bd9692fb07a760d410a0229e63"
    assert bytes(pair.link_key).hex() == "792c2a3ec160c0e8694640132fe7be38eda2a9f245c6b807596af070ad3be059"


@pytest.mark.parametrize(
    ("profile", "kind", "cid"),
    [
        (WESH, LogKind.METADATA, "bafyreibbycvzweht5kd7yoltwdgq4vhycya6avla6hzix2b7ixwidzdmni"),
        (WESH, LogKind.MESSAGES, "bafyreif7ey4ez4tvdowzt4zgblx5jr3vew43wo373xedkd64vyzyb3c3cu"),
        (BERTY, LogKind.METADATA, "bafyreidzcvla6hvpo2niavju2s3pbekdlbzdahf2uhrh5iocwdhqckd3gi"),
        (BERTY, LogKind.MESSAGES, "bafyreiap5bxqsse5mtqg6lo557j7brdobcod2jmi3vrqtgwwk6rb3g2kba"),
    ],
)
def test_golden_addresses(pair: Group, profile: Profile, kind: LogKind, cid: str) -> None:
    """All four addresses of section 2.8; the manifest is the block they name."""
    address = pair.address(profile, kind)
    assert address.text == f"/orbitdb/{cid}/{pair.public_key.hex()}_{profile.store_type(kind)}"
    assert str(Cid.of(address.manifest)) == cid


def test_golden_member_key() -> None:
    """The member key of section 2.8."""
    group = PrivateKey(b"\x05" * 32).public
    member = derive_shared_key(PrivateKey(b"\x03" * 32), group)
    assert bytes(member.seed).hex() == "fb6171bdc2097613364c20f005ccb2be38cc1c6a9158a9b002d16a585490482f"
    assert member.public.hex() == "5ca0d80f0c6e9b9814185fbbd347328b23b63d0be05ac8f8d58a47ef7aa6c74a"


def test_both_contacts_derive_one_group(pair: Group) -> None:
    """The group is the same from both sides."""
    assert contact_group(B, AccountId(A.public)) == pair


def test_account_group_is_signed_by_the_proof_key() -> None:
    """The account group's log key is the proof key (section 2.4)."""
    group = account_group(A, B)
    assert group.signing_key == B
    assert group.public_key == A.public


def made() -> tuple[Group, PrivateKey]:
    """A multi-member group of fixed entropy."""
    seeds = iter([b"\x07" * 32, b"\x08" * 32])
    return new_group(lambda _: next(seeds))


def test_new_groups_are_invitations() -> None:
    """A new group verifies, and signs its link key (section 2.5)."""
    group, key = made()
    group.check_invitation()
    assert verify(group.public_key, bytes(group.link_key), group.link_key_sig)
    assert key.public == group.public_key


def test_false_invitations_are_refused() -> None:
    """A changed secret, a changed signature and another kind of group are no invitations."""
    group, _ = made()
    for changed in (
        attrs.evolve(group, secret=type(group.secret)(b"\x09" * 32)),
        attrs.evolve(group, secret_sig=bytes(64)),
        attrs.evolve(group, kind=GroupKind.CONTACT),
    ):
        with pytest.raises(RemoteProtocolError):
            changed.check_invitation()


def test_reduced_groups_locate_and_cannot_write() -> None:
    """A replica finds the logs and opens heads, and has no secret (section 2.6)."""
    group, _ = made()
    reduced = decode_group(encode_group(group.reduced()))
    assert reduced.address(BERTY, LogKind.MESSAGES) == group.address(BERTY, LogKind.MESSAGES)
    assert reduced.link_key == group.link_key
    assert bytes(group.secret) not in encode_group(reduced).SerializeToString()
    with pytest.raises(LocalProtocolError):
        _ = reduced.signing_key


def test_round_trip() -> None:
    """A group comes back from its protobuf."""
    group, _ = made()
    for value in (group, group.reduced(), account_group(A, B)):
        assert decode_group(encode_group(value)) == value


@given(
    st.integers(-2, 6),
    st.fixed_dictionaries(
        {},
        optional={
            name: st.binary(max_size=3) | st.sampled_from([bytes(32), bytes(64)])
            for name in ("public_key", "secret", "secret_sig", "sign_pub", "link_key", "link_key_sig")
        },
    ),
)
def test_any_group(kind: int, fields: dict[str, bytes]) -> None:
    """Any fields give a group that can be located, or RemoteProtocolError."""
    try:
        group = decode_group(pb.Group(group_type=kind, **fields))
    except RemoteProtocolError:
        return
    assert group.address(WESH, LogKind.METADATA).text.startswith("/orbitdb/bafyrei")
    assert len(group.link_key) == 32
