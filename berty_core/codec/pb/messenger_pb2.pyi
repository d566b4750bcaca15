from berty_core.codec.pb import wesh_pb2 as _wesh_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AppMessage(_message.Message):
    __slots__ = ("type", "payload", "sent_date", "target_cid")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SENT_DATE_FIELD_NUMBER: _ClassVar[int]
    TARGET_CID_FIELD_NUMBER: _ClassVar[int]
    type: int
    payload: bytes
    sent_date: int
    target_cid: str
    def __init__(self, type: _Optional[int] = ..., payload: _Optional[bytes] = ..., sent_date: _Optional[int] = ..., target_cid: _Optional[str] = ...) -> None: ...

class UserMessage(_message.Message):
    __slots__ = ("body",)
    BODY_FIELD_NUMBER: _ClassVar[int]
    body: str
    def __init__(self, body: _Optional[str] = ...) -> None: ...

class GroupInvitation(_message.Message):
    __slots__ = ("link",)
    LINK_FIELD_NUMBER: _ClassVar[int]
    link: str
    def __init__(self, link: _Optional[str] = ...) -> None: ...

class SetGroupInfo(_message.Message):
    __slots__ = ("display_name",)
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    display_name: str
    def __init__(self, display_name: _Optional[str] = ...) -> None: ...

class SetUserInfo(_message.Message):
    __slots__ = ("display_name",)
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    display_name: str
    def __init__(self, display_name: _Optional[str] = ...) -> None: ...

class Acknowledge(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ContactMetadata(_message.Message):
    __slots__ = ("display_name",)
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    display_name: str
    def __init__(self, display_name: _Optional[str] = ...) -> None: ...

class BertyLink(_message.Message):
    __slots__ = ("kind", "berty_id", "berty_group", "encrypted", "berty_message_ref")
    KIND_FIELD_NUMBER: _ClassVar[int]
    BERTY_ID_FIELD_NUMBER: _ClassVar[int]
    BERTY_GROUP_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTED_FIELD_NUMBER: _ClassVar[int]
    BERTY_MESSAGE_REF_FIELD_NUMBER: _ClassVar[int]
    kind: int
    berty_id: BertyID
    berty_group: BertyGroup
    encrypted: EncryptedLink
    berty_message_ref: BertyMessageRef
    def __init__(self, kind: _Optional[int] = ..., berty_id: _Optional[_Union[BertyID, _Mapping]] = ..., berty_group: _Optional[_Union[BertyGroup, _Mapping]] = ..., encrypted: _Optional[_Union[EncryptedLink, _Mapping]] = ..., berty_message_ref: _Optional[_Union[BertyMessageRef, _Mapping]] = ...) -> None: ...

class BertyID(_message.Message):
    __slots__ = ("public_rendezvous_seed", "account_pk", "display_name")
    PUBLIC_RENDEZVOUS_SEED_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_PK_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    public_rendezvous_seed: bytes
    account_pk: bytes
    display_name: str
    def __init__(self, public_rendezvous_seed: _Optional[bytes] = ..., account_pk: _Optional[bytes] = ..., display_name: _Optional[str] = ...) -> None: ...

class BertyGroup(_message.Message):
    __slots__ = ("group", "display_name")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    group: _wesh_pb2.Group
    display_name: str
    def __init__(self, group: _Optional[_Union[_wesh_pb2.Group, _Mapping]] = ..., display_name: _Optional[str] = ...) -> None: ...

class BertyMessageRef(_message.Message):
    __slots__ = ("account_id", "group_pk", "message_id")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    GROUP_PK_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    group_pk: str
    message_id: str
    def __init__(self, account_id: _Optional[str] = ..., group_pk: _Optional[str] = ..., message_id: _Optional[str] = ...) -> None: ...

class EncryptedLink(_message.Message):
    __slots__ = ("kind", "nonce", "display_name", "checksum", "contact_public_rendezvous_seed", "contact_account_pk", "group_public_key", "group_secret", "group_secret_sig", "group_type", "group_sign_pub", "group_link_key_sig")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    CONTACT_PUBLIC_RENDEZVOUS_SEED_FIELD_NUMBER: _ClassVar[int]
    CONTACT_ACCOUNT_PK_FIELD_NUMBER: _ClassVar[int]
    GROUP_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    GROUP_SECRET_FIELD_NUMBER: _ClassVar[int]
    GROUP_SECRET_SIG_FIELD_NUMBER: _ClassVar[int]
    GROUP_TYPE_FIELD_NUMBER: _ClassVar[int]
    GROUP_SIGN_PUB_FIELD_NUMBER: _ClassVar[int]
    GROUP_LINK_KEY_SIG_FIELD_NUMBER: _ClassVar[int]
    kind: int
    nonce: bytes
    display_name: str
    checksum: bytes
    contact_public_rendezvous_seed: bytes
    contact_account_pk: bytes
    group_public_key: bytes
    group_secret: bytes
    group_secret_sig: bytes
    group_type: int
    group_sign_pub: bytes
    group_link_key_sig: bytes
    def __init__(self, kind: _Optional[int] = ..., nonce: _Optional[bytes] = ..., display_name: _Optional[str] = ..., checksum: _Optional[bytes] = ..., contact_public_rendezvous_seed: _Optional[bytes] = ..., contact_account_pk: _Optional[bytes] = ..., group_public_key: _Optional[bytes] = ..., group_secret: _Optional[bytes] = ..., group_secret_sig: _Optional[bytes] = ..., group_type: _Optional[int] = ..., group_sign_pub: _Optional[bytes] = ..., group_link_key_sig: _Optional[bytes] = ...) -> None: ...
