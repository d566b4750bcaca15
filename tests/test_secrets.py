"""No repr and no text of a value that holds key material shows any of it."""

from __future__ import annotations

import traceback

import pytest

from berty_core.codec.pb import wesh_pb2 as pb
from berty_core.crypto.keys import PrivateKey, Secret
from berty_core.crypto.vault import Vault
from berty_core.errors import BertyError
from berty_core.ids import AccountId, GroupId, MemberId
from berty_core.protocol.entry import LogIdentity
from berty_core.protocol.envelope import open_headers, seal_message
from berty_core.protocol.group import Group, account_group, contact_group, new_group
from berty_core.protocol.link_values import ContactLink, GroupLink
from berty_core.protocol.metadata import EventType, MetadataEvent
from berty_core.protocol.noise import CipherState, NoiseHandshake
from berty_core.protocol.ratchet import Chain, share_chain, take_key
from berty_core.protocol.sealed_links import seal_link, unseal_link
from berty_core.protocol.shareable import ShareableContact

A, B = PrivateKey(b"\xa1" * 32), PrivateKey(b"\xb2" * 32)


def _group() -> Group:
    seeds = iter([b"\xc3" * 32, b"\xd4" * 32])
    return new_group(lambda _: next(seeds))[0]


def _chain() -> Chain:
    return take_key(Chain(Secret(b"\xe5" * 32), 0), GroupId(A.public), 3)[1]


def _handshake() -> NoiseHandshake:
    handshake = NoiseHandshake(True, Secret(b"\xf6" * 32), Secret(b"\x97" * 32), psk=Secret(b"\x88" * 32))
    handshake.write_message(b"\x79" * 20)
    return handshake


GROUP, CHAIN, HANDSHAKE = _group(), _chain(), _handshake()
SEED = b"\x6a" * 32
MESSAGE = seal_message(GROUP.secret, b"\x5b" * 32, 1, A, b"\x4c" * 30, b"n" * 24)
SEALED = open_headers(GROUP.secret, MESSAGE)
LINK = ContactLink(AccountId(A.public), SEED, "Ann")
SHARED = share_chain(CHAIN, GROUP.id, A, MemberId(B.public))

# A value, and what must not be seen of it.
HOLDERS: list[tuple[object, list[bytes]]] = [
    (Secret(SEED), [SEED]),
    (A, [bytes(A.seed)]),
    (GROUP, [bytes(GROUP.secret), GROUP.secret_sig, GROUP.link_key_sig]),
    (GROUP.reduced(), [bytes(GROUP.link_key)]),
    (account_group(A, B), [bytes(B.seed)]),
    (contact_group(A, AccountId(B.public)), [bytes(contact_group(A, AccountId(B.public)).secret)]),
    (CHAIN, [bytes(CHAIN.key), *map(bytes, CHAIN.skipped.values())]),
    (LogIdentity.of(A), [bytes(A.seed)]),
    (Vault(SEED, bytes), [SEED]),
    (SEALED, [SEALED.box, SEALED.sig]),
    (MetadataEvent(EventType.PAYLOAD_SENT, pb.GroupMetadataPayloadSent(message=SEED), None), [SEED]),
    (LINK, [SEED]),
    (GroupLink(GROUP, "g"), [bytes(GROUP.secret)]),
    (seal_link(LINK, "passphrase", b"i" * 16), [SEED, b"passphrase"]),
    (ShareableContact(AccountId(A.public), SEED), [SEED]),
    (CipherState(SEED), [SEED]),
    (HANDSHAKE, [b"\xf6" * 32, b"\x97" * 32, b"\x88" * 32, b"\x79" * 20]),
]


def shows(text: str, secret: bytes) -> bool:
    """Whether eight bytes in a row of a secret are to be seen in a text, in any form people print."""
    parts = {secret[start : start + 8] for start in range(0, max(1, len(secret) - 7), 4)}
    forms = {form for part in parts for form in (part.hex(), repr(part)[2:-1], part.decode("latin-1"))}
    return any(form in text for form in forms)


@pytest.mark.parametrize(("value", "secrets"), HOLDERS, ids=lambda value: type(value).__name__)
def test_representations_are_redacted(value: object, secrets: list[bytes]) -> None:
    """`repr`, `str` and formatting show nothing secret, alone and inside containers."""
    text = " ".join([repr(value), str(value), f"{value}", repr([value]), repr({"key": value}), f"{value!r:>10}"])
    assert not [secret for secret in secrets if shows(text, secret)]


def test_the_search_would_find_them() -> None:
    """Plain bytes in any of these forms are seen by the search."""
    for text in (SEED.hex(), repr(SEED), str([SEED]), SEED.decode("latin-1"), f"x{SEED.hex()[6:40]}"):
        assert shows(text, SEED)


def test_errors_tell_no_secrets() -> None:
    """What is raised about a secret does not repeat it."""
    for provoke in (
        lambda: PrivateKey(SEED + b"x"),
        lambda: take_key(CHAIN, GROUP.id, 99999),
        lambda: open_headers(SEED, MESSAGE),
        lambda: unseal_link(seal_link(LINK, "passphrase", b"i" * 16), "guess phrase"),
        lambda: Vault(SEED, bytes).unseal(b"name", SHARED),
    ):
        with pytest.raises(BertyError) as caught:
            provoke()
        text = "".join(traceback.format_exception_only(caught.value))
        assert not shows(text, SEED)
        assert "guess phrase" not in text
