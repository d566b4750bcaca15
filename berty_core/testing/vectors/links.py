"""Links in both text forms: read, written again, protected ones opened and sealed again (Wesh protocol, 10.6, 10.7)."""

from __future__ import annotations

from ...codec.base58 import decode_base42
from ...codec.pb import messenger_pb2 as pb
from ...codec.protobuf import parse
from ...protocol.link_values import EncryptedLink, GroupLink, Link, MessageLink
from ...protocol.links import format_internal, format_web, parse_link
from ...protocol.sealed_links import seal_link, unseal_link
from .fields import check_message
from .known import Known
from .recording import Place
from .report import Report


def check_links(report: Report, known: Known, root: Place) -> None:
    """Check a recording of links."""
    for place in root["links"]:
        with report.attempt("link: read", place):
            _link(report, known, place)


def _message_of(link: Link) -> pb.BertyLink:
    return parse(pb.BertyLink, _internal_bytes(format_internal(link)))


def _internal_bytes(text: str) -> bytes:
    return decode_base42(text.split("/", 3)[3])


def _link(report: Report, known: Known, place: Place) -> None:
    internal = place["internal"].text()
    data = _internal_bytes(internal)
    report.equal("link: protobuf", place["proto"], data)
    message = parse(pb.BertyLink, data)
    check_message(report, "link: fields", place["fields"], message)
    link = parse_link(internal)
    report.equal("link: internal form written again", place["internal"], format_internal(link))
    report.equal("link: web form written again", place["web"], format_web(link))
    report.equal("link: protobuf", place["proto"], _message_of(link).SerializeToString())
    if place["web"]:
        from_web = parse_link(place["web"].text())
        # Go reads nothing out of the web form of a message link, and so do we (section 10.6).
        wanted = MessageLink("", "", "") if isinstance(link, MessageLink) else link
        report.true("link: web form read", place["web"], from_web == wanted, "it reads as another link")
    if isinstance(link, EncryptedLink) and place["passphrase"]:
        _protected(report, link, place)
    elif isinstance(link, GroupLink):
        group = known.groups.get(bytes(link.group.public_key))
        report.true("link: group", place["proto"], group == link.group, "another group than other files tell")


def _protected(report: Report, link: EncryptedLink, place: Place) -> None:
    passphrase = place["passphrase"].text()
    kind = "link: opened by its passphrase"
    clear = report.succeeds(kind, place["passphrase"], lambda: unseal_link(link, passphrase))
    if clear is None:
        return
    check_message(report, kind, place["clear_fields"], _message_of(clear))
    again = seal_link(clear, passphrase, link.nonce)
    report.equal("link: sealed again", place["internal"], format_internal(again))
