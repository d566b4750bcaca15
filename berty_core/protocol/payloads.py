"""What Berty Messenger puts into messages and metadata payloads (Wesh protocol, sections 10.2 and 10.3).

Invariant: the bytes are those that Go's protobuf writes: fields by number, nothing for zero or empty values.
"""

from __future__ import annotations

import enum

import attrs

from ..codec.cid import Cid
from ..codec.pb import messenger_pb2 as pb
from ..codec.protobuf import parse
from ..errors import LocalProtocolError, RemoteProtocolError

MAX_PAYLOAD = 560 * 1024  # more does not reach a Go node live (section 14.6)
MAX_RECEIVED = 2 * 1024 * 1024  # the largest block that is joined
MAX_METADATA = 2048  # it has to pass a contact request's frame (section 5.4)


class PayloadType(enum.IntEnum):
    """The kinds of payload that are read here; the numbers travel."""

    USER_MESSAGE = 1
    GROUP_INVITATION = 3
    SET_GROUP_INFO = 4
    SET_USER_INFO = 5
    ACKNOWLEDGE = 6


@attrs.frozen
class UserMessage:
    """A text from one person to the group."""

    body: str


@attrs.frozen
class GroupInvitation:
    """A link to a group, as text; web form in Berty."""

    link: str = attrs.field(repr=False)


@attrs.frozen
class SetGroupInfo:
    """The group's new name; an empty one keeps the old."""

    display_name: str


@attrs.frozen
class SetUserInfo:
    """The sender's new name."""

    display_name: str


@attrs.frozen
class Acknowledge:
    """The sender has read the message with this CID."""

    target: Cid


@attrs.frozen
class UnknownPayload:
    """A payload of a kind that this version does not know, kept as it came."""

    type: int
    payload: bytes
    target: str = ""


Content = UserMessage | GroupInvitation | SetGroupInfo | SetUserInfo | Acknowledge | UnknownPayload


@attrs.frozen
class AppPayload:
    """A content with the sender's claim of when it was sent: Unix milliseconds, 0 for none; it decides nothing."""

    content: Content
    sent_date: int = 0


def encode_payload(content: Content, sent_date: int = 0) -> bytes:
    """Write an `AppMessage`; `sent_date` in Unix milliseconds. LocalProtocolError above 560 KiB."""
    try:
        data = _app_message(content, sent_date).SerializeToString()
    except (ValueError, TypeError) as error:
        raise LocalProtocolError(f"this cannot be sent: {error}") from error
    if len(data) > MAX_PAYLOAD:
        raise LocalProtocolError(
            f"this message has {len(data)} bytes, at most {MAX_PAYLOAD} reach every member: send it in parts"
        )
    return data


def _app_message(content: Content, sent_date: int) -> pb.AppMessage:
    if isinstance(content, Acknowledge):
        return pb.AppMessage(type=PayloadType.ACKNOWLEDGE, sent_date=sent_date, target_cid=str(content.target))
    if isinstance(content, UnknownPayload):
        return pb.AppMessage(type=content.type, payload=content.payload, sent_date=sent_date, target_cid=content.target)
    kind, inner = _typed(content)
    return pb.AppMessage(type=kind, payload=inner.SerializeToString(), sent_date=sent_date)


def _typed(
    content: UserMessage | GroupInvitation | SetGroupInfo | SetUserInfo,
) -> tuple[PayloadType, pb.UserMessage | pb.GroupInvitation | pb.SetGroupInfo | pb.SetUserInfo]:
    if isinstance(content, UserMessage):
        return PayloadType.USER_MESSAGE, pb.UserMessage(body=content.body)
    if isinstance(content, GroupInvitation):
        return PayloadType.GROUP_INVITATION, pb.GroupInvitation(link=content.link)
    if isinstance(content, SetGroupInfo):
        return PayloadType.SET_GROUP_INFO, pb.SetGroupInfo(display_name=content.display_name)
    return PayloadType.SET_USER_INFO, pb.SetUserInfo(display_name=content.display_name)


def decode_payload(data: bytes) -> AppPayload:
    """Read an `AppMessage` of at most 2 MiB; RemoteProtocolError if it or a known payload in it is malformed."""
    message = parse(pb.AppMessage, data, MAX_RECEIVED)
    return AppPayload(_content(message), message.sent_date)


def _content(message: pb.AppMessage) -> Content:
    match message.type:
        case PayloadType.USER_MESSAGE:
            return UserMessage(parse(pb.UserMessage, message.payload).body)
        case PayloadType.GROUP_INVITATION:
            return GroupInvitation(parse(pb.GroupInvitation, message.payload).link)
        case PayloadType.SET_GROUP_INFO:
            return SetGroupInfo(parse(pb.SetGroupInfo, message.payload).display_name)
        case PayloadType.SET_USER_INFO:
            return SetUserInfo(parse(pb.SetUserInfo, message.payload).display_name)
        case PayloadType.ACKNOWLEDGE:
            return Acknowledge(Cid.parse(message.target_cid))
        case _:
            return UnknownPayload(message.type, message.payload, message.target_cid)


def encode_contact_metadata(display_name: str) -> bytes:
    """Write the `ContactMetadata` that tells a contact our name (section 10.3)."""
    try:
        return pb.ContactMetadata(display_name=display_name).SerializeToString()
    except ValueError as error:
        raise LocalProtocolError("a display name must be valid Unicode text") from error


def decode_contact_metadata(data: bytes) -> str:
    """Read the display name out of `ContactMetadata`; RemoteProtocolError if it is none."""
    return parse(pb.ContactMetadata, data, MAX_METADATA).display_name


def contact_name(metadata: bytes) -> str:
    """Read the name that a contact gave itself, or an empty text; never fails.

    Some clients put the bare name where others put `ContactMetadata` (section 10.3): both are read.
    """
    try:
        name = decode_contact_metadata(metadata)
    except RemoteProtocolError:
        name = ""
    if name or len(metadata) > MAX_METADATA:
        return name
    try:
        text = metadata.decode()
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""
