"""Links against recorded ones, and what a person reads who mistyped one."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.codec.base58 import BASE42, BASE58, encode_base42, encode_base58
from berty_core.codec.pb import messenger_pb2 as pb
from berty_core.codec.pb import wesh_pb2
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.ids import AccountId
from berty_core.protocol.group import GroupKind, contact_group, new_group
from berty_core.protocol.links import (
    ContactLink,
    EncryptedLink,
    GroupLink,
    LinkError,
    LinkKind,
    MessageLink,
    format_internal,
    format_web,
    parse_link,
    seal_link,
    unseal_link,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "wesh" / "links.json.gz"
RECORDED: list[dict[str, Any]] = json.loads(gzip.decompress(VECTORS.read_bytes()))["links"]
IDS = [f"{number} {case['label']}" for number, case in enumerate(RECORDED)]


def bare(text: str) -> str:
    return text.partition("#")[2].split("/")[1]


def contact(seed: int = 1, name: str = "") -> ContactLink:
    return ContactLink(AccountId(PrivateKey(bytes([seed]) * 32).public), bytes([seed + 1]) * 32, name)


def group(name: str = "") -> GroupLink:
    parts = iter([bytes([5]) * 32, bytes([6]) * 32])
    return GroupLink(new_group(lambda n: next(parts))[0], name)


@pytest.mark.parametrize("case", RECORDED, ids=IDS)
def test_recorded_link_is_read_and_written_alike(case: dict[str, Any]) -> None:
    """Both forms of every recorded link are read to the recorded fields and written to the same text."""
    internal = parse_link(case["internal"])
    assert case["internal"] == format_internal(internal)
    assert case["web"] == format_web(internal)
    if not isinstance(internal, MessageLink):
        assert internal == parse_link(case["web"])
        fields = case["fields"]
        inner = fields.get("berty_id") or fields.get("berty_group") or fields["encrypted"]
        assert inner.get("display_name", "") == internal.display_name


@pytest.mark.parametrize("case", [case for case in RECORDED if "passphrase" in case])
def test_recorded_protected_link_opens_and_is_sealed_alike(case: dict[str, Any]) -> None:
    """A protected link opens with its passphrase to the recorded values, and sealing them again gives it back."""
    sealed = parse_link(case["internal"])
    assert isinstance(sealed, EncryptedLink)
    clear = unseal_link(sealed, case["passphrase"])
    if isinstance(clear, ContactLink):
        expected = case["clear_fields"]["berty_id"]
        assert (expected["account_pk"], expected["public_rendezvous_seed"]) == (
            clear.account.hex(),
            clear.rendezvous_seed.hex(),
        )
    else:
        expected = case["clear_fields"]["berty_group"]["group"]
        assert (expected["public_key"], expected["secret"], expected["link_key_sig"]) == (
            clear.group.public_key.hex(),
            clear.group.secret.hex(),
            clear.group.link_key_sig.hex(),
        )
    assert sealed == seal_link(clear, case["passphrase"], sealed.nonce)


def test_golden_texts_of_the_encodings() -> None:
    """The published 16-byte examples come out of the two encodings character for character."""
    small = pb.BertyID(public_rendezvous_seed=b"\x01" * 16, account_pk=b"\x02" * 16)
    web = "3geQXHmsW9rxRfQFJdu8CEuPtWkfTWgJH13NzAoGatcnh4brusu3"
    assert web == encode_base58(pb.BertyLink(berty_id=small).SerializeToString())
    assert quote_plus("Hello World!") == "Hello+World%21"
    small.display_name = "Hello World!"
    internal = "CAS8232WNWU-1HTSMNYD.USC3T4F.P.J.AFKOXTKI:-N4P9IJTERR3CTFD.:N$*$3RQZLIFMT3-$IN.."
    assert internal == encode_base42(pb.BertyLink(kind=1, berty_id=small).SerializeToString())
    message = wesh_pb2.Group(
        public_key=b"\x03" * 16, secret=b"\x04" * 16, secret_sig=b"\x05" * 16, sign_pub=b"\x06" * 16, group_type=3
    )
    machine = (
        "rUwVHzzEiMxGhM7iY4wW5yZFH3ZcjiWAhxva6tXUcfniDsoT3rmF3WdshR8955KAgeCTvirdfppTAMehPqmBV1YYjAiXYUQm98J992TuPT"
    )
    golden = pb.BertyLink(berty_group=pb.BertyGroup(group=message)).SerializeToString()
    assert machine == encode_base58(golden)


def test_message_links_keep_their_reference_only_in_the_internal_form() -> None:
    """The web form of a message link gives an empty reference, as in Berty."""
    reference = MessageLink("account", "group", "cid")
    assert reference == parse_link(format_internal(reference))
    assert MessageLink("", "", "") == parse_link(format_web(reference))


def test_prefixes_match_in_any_case_and_spaces_around_are_ignored() -> None:
    """Scheme and host are compared without case, and a pasted line break does no harm."""
    web, internal = format_web(contact()), format_internal(contact())
    assert contact() == parse_link(" \n" + web.replace("https://berty.tech", "HTTPS://Berty.TECH") + "\n")
    assert contact() == parse_link(internal.replace("BERTY://PB", "berty://pb"))


@pytest.mark.parametrize("query", ["name=A/B C", "zzz=1&name=A/B+C&name=D", "/name=no&name=A%2FB%20C"])
def test_queries_are_read_with_tolerance(query: str) -> None:
    """A raw slash or space in a name is kept and unknown keys are skipped."""
    link = parse_link(format_web(contact()) + "/" + query)
    assert isinstance(link, ContactLink)
    assert link.display_name == "A/B C"


def test_what_a_person_reads_who_cut_a_link_off() -> None:
    """A link without its end, or with only its beginning, is called cut off."""
    for link in (contact(), group(), seal_link(contact(), "p", bytes(16)), seal_link(group(), "p", bytes(16))):
        text = format_web(link)
        for length in (len(text) - 2, len(text) - 10, len(text) // 2, len("https://berty.tech/id#") + 1, 12):
            with pytest.raises(LinkError, match=r"cut off|is empty"):
                parse_link(text[:length])
        with pytest.raises(LinkError, match="is empty"):
            parse_link(text[: text.rindex("/") + 1])
    with pytest.raises(LinkError, match=r"cut off|damaged"):
        parse_link(format_internal(contact())[:-5])


def test_what_a_person_reads_who_mistyped_a_character() -> None:
    """A character outside the alphabet is shown with its place in the text as typed."""
    text = "  " + format_web(contact())
    place = len(text) - 20
    with pytest.raises(LinkError, match=rf"character {place + 1} of this link \('0'\)"):
        parse_link(text[:place] + "0" + text[place + 1 :])
    internal = format_internal(group())
    with pytest.raises(LinkError, match=r"character 16 of this link \('a'\)"):
        parse_link(internal[:15] + "a" + internal[16:])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a Berty link"),
        ("https://example.org/id#contact/abc", "not a Berty link"),
        ("hello", "not a Berty link"),
        ("https://berty.tech/id#friend/abc", "unknown kind"),
        ("https://berty.tech/id#contact/", "is empty"),
        ("https://berty.tech/id#contact//name=Bob", "is empty"),
        ("BERTY://PB/", "is empty"),
        ("berty://id/#key=abc&name=x", "early version"),
        ("x" * 9000, "9000 characters"),
        ("https://berty.tech/id#contact/" + "2" * 5000, "at most 4096"),
    ],
)
def test_texts_that_are_no_links(text: str, words: str) -> None:
    """Each kind of wrong text has its own words."""
    with pytest.raises(LinkError, match=words):
        parse_link(text)


def test_every_single_wrong_character_in_a_group_link_is_noticed() -> None:
    """The signature in a group link makes any one typing error show."""
    text = format_web(group())
    start = text.rindex("/") + 1
    for place in range(start, len(text), 7):
        wrong = BASE58[(BASE58.index(text[place]) + 5) % 58]
        with pytest.raises(LinkError):
            parse_link(text[:place] + wrong + text[place + 1 :])


def test_forged_group_links_are_refused() -> None:
    """A false signature, a foreign signing key and another kind of group do not pass."""
    honest = group().group
    forged = attrs.evolve(honest, secret_sig=PrivateKey(bytes(32)).sign(bytes(honest.secret)))
    with pytest.raises(LinkError, match="signature is false"):
        parse_link(format_web(GroupLink(forged)))
    foreign = attrs.evolve(honest, sign_pub=bytes(PrivateKey(bytes(32)).public))
    with pytest.raises(LinkError, match="foreign signing key"):
        parse_link(format_internal(GroupLink(foreign)))
    own = attrs.evolve(honest, sign_pub=bytes(honest.signing_public))
    assert GroupLink(own) == parse_link(format_web(GroupLink(own)))
    message = wesh_pb2.Group(public_key=bytes(honest.public_key), secret=bytes(honest.secret), group_type=2)
    data = pb.BertyLink(berty_group=pb.BertyGroup(group=message)).SerializeToString()
    with pytest.raises(LinkError):
        parse_link("https://berty.tech/id#group/" + encode_base58(data))


def test_a_stored_link_key_does_not_travel() -> None:
    """A group that was stored with its link key gives the same link as without."""
    stored = attrs.evolve(group().group, stored_link_key=bytes(group().group.link_key))
    assert format_web(group()) == format_web(GroupLink(stored))


def test_a_contact_link_must_name_a_key_on_the_curve() -> None:
    """An account id that is no point is called damage, not accepted."""
    data = pb.BertyLink(berty_id=pb.BertyID(public_rendezvous_seed=bytes(32), account_pk=b"\x02" * 32))
    text = encode_base58(data.SerializeToString())
    with pytest.raises(LinkError, match="damaged"):
        parse_link("https://berty.tech/id#contact/" + text)


@pytest.mark.parametrize("link", [contact(name="Ann"), group("Friends")], ids=["contact", "group"])
def test_wrong_passphrases_are_told_even_where_the_checksum_passes(link: ContactLink | GroupLink) -> None:
    """Without any checksum the keys themselves tell a wrong passphrase; kind and name stay in clear."""
    sealed = seal_link(link, "πάσο", bytes(range(16)))
    assert (sealed.display_name, len(sealed.checksum)) == (link.display_name, 1)
    assert sealed.kind_word == ("contact" if isinstance(link, ContactLink) else "group")
    assert link == unseal_link(sealed, "πάσο")
    with pytest.raises(LinkError, match="wrong passphrase"):
        unseal_link(attrs.evolve(sealed, checksum=bytes([sealed.checksum[0] ^ 1])), "πάσο")
    unchecked = attrs.evolve(sealed, checksum=b"")
    assert link == unseal_link(unchecked, "πάσο")
    for wrong in ("passo", "πάσο ", "Πάσο"):
        with pytest.raises(LinkError, match="wrong passphrase"):
            unseal_link(unchecked, wrong)
        with pytest.raises(LinkError, match="wrong passphrase"):
            unseal_link(sealed, wrong)


def test_our_own_mistakes_are_ours() -> None:
    """Values that no link can carry are refused before anything is written."""
    with pytest.raises(LocalProtocolError, match="rendezvous seed"):
        format_web(ContactLink(contact().account, b"short"))
    with pytest.raises(LocalProtocolError, match="multi-member"):
        format_web(GroupLink(contact_group(PrivateKey(bytes(32)), contact().account)))
    with pytest.raises(LocalProtocolError, match="1025 bytes"):
        format_internal(contact(name="x" * 1025))
    with pytest.raises(LocalProtocolError, match="Unicode"):
        format_web(contact(name="\ud800"))
    with pytest.raises(LocalProtocolError, match="not empty"):
        seal_link(contact(), "", bytes(16))
    with pytest.raises(LocalProtocolError, match="16 bytes"):
        seal_link(contact(), "p", bytes(15))
    with pytest.raises(LocalProtocolError, match="Unicode"):
        unseal_link(seal_link(contact(), "p", bytes(16)), "\ud800")


def test_long_names_and_foreign_kinds_from_outside_are_refused() -> None:
    """A name above 1 KiB, and a protected link for a group that cannot be joined, are the sender's fault."""
    with pytest.raises(LinkError, match="display name"):
        parse_link(format_web(contact()) + "/name=" + "x" * 1025)
    sealed = pb.EncryptedLink(kind=2, nonce=bytes(16), group_type=2)
    with pytest.raises(LinkError):
        parse_link("https://berty.tech/id#enc/" + encode_base58(pb.BertyLink(encrypted=sealed).SerializeToString()))


def test_secrets_do_not_show_in_a_repr() -> None:
    """Neither seed nor group secret is in what a log line would print."""
    for link in (contact(), group(), seal_link(group(), "p", bytes(16))):
        shown = repr(link)
        assert repr(bytes([2]) * 32)[2:-1] not in shown
        assert repr(bytes([6]) * 32)[2:-1] not in shown


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(names, st.integers(1, 200), st.sampled_from([format_web, format_internal]))
def test_contact_links_round_trip(name: str, seed: int, write: Any) -> None:
    """Any name survives either form unchanged."""
    assert contact(seed, name) == parse_link(write(contact(seed, name)))


@given(st.binary(max_size=200), st.sampled_from(["contact", "group", "enc", "message", "pb"]))
def test_any_blob_gives_a_value_or_an_error_in_words(data: bytes, word: str) -> None:
    """Arbitrary bytes behind any kind word give a link or LinkError."""
    prefix = "BERTY://PB/" if word == "pb" else f"https://berty.tech/id#{word}/"
    text = prefix + (encode_base42(data) if word == "pb" else encode_base58(data))
    with contextlib.suppress(LinkError):
        assert parse_link(text) is not None


@given(
    st.sampled_from([case[form] for case in RECORDED for form in ("web", "internal")]),
    st.integers(0, 400),
    st.sampled_from(BASE42 + BASE58 + "# %&=é\ud800"),
)
def test_any_change_gives_a_value_or_an_error_in_words(text: str, place: int, character: str) -> None:
    """One character of a recorded link replaced gives a link or LinkError."""
    with contextlib.suppress(LinkError):
        parse_link(text[:place] + character + text[place + 1 :])


@settings(max_examples=15)  # each costs a scrypt
@given(st.sampled_from([LinkKind.CONTACT, LinkKind.GROUP]), st.data())
def test_any_sealed_fields_give_a_value_or_wrong_passphrase(kind: LinkKind, data: st.DataObject) -> None:
    """What stands in a protected link never breaks its opening."""
    lengths = (32, 32) if kind is LinkKind.CONTACT else (32, 32, 64, 0, 64)
    fields = tuple(data.draw(st.binary(min_size=length, max_size=length)) for length in lengths)
    with contextlib.suppress(RemoteProtocolError):
        assert isinstance(unseal_link(EncryptedLink(kind, "", bytes(16), b"", fields), "p"), ContactLink)


def test_link_kinds_have_the_words_of_the_wire() -> None:
    """The four words of web links, and the group kind that invitations carry."""
    assert [kind.word for kind in LinkKind] == ["contact", "group", "enc", "message"]
    assert GroupKind.MULTI_MEMBER is group().group.kind
