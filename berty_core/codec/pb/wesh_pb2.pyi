from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Group(_message.Message):
    __slots__ = ("public_key", "secret", "secret_sig", "group_type", "sign_pub", "link_key", "link_key_sig")
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    SECRET_SIG_FIELD_NUMBER: _ClassVar[int]
    GROUP_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIGN_PUB_FIELD_NUMBER: _ClassVar[int]
    LINK_KEY_FIELD_NUMBER: _ClassVar[int]
    LINK_KEY_SIG_FIELD_NUMBER: _ClassVar[int]
    public_key: bytes
    secret: bytes
    secret_sig: bytes
    group_type: int
    sign_pub: bytes
    link_key: bytes
    link_key_sig: bytes
    def __init__(self, public_key: _Optional[bytes] = ..., secret: _Optional[bytes] = ..., secret_sig: _Optional[bytes] = ..., group_type: _Optional[int] = ..., sign_pub: _Optional[bytes] = ..., link_key: _Optional[bytes] = ..., link_key_sig: _Optional[bytes] = ...) -> None: ...

class GroupHeadsExport(_message.Message):
    __slots__ = ("public_key", "sign_pub", "metadata_heads_cids", "messages_heads_cids", "link_key")
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    SIGN_PUB_FIELD_NUMBER: _ClassVar[int]
    METADATA_HEADS_CIDS_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_HEADS_CIDS_FIELD_NUMBER: _ClassVar[int]
    LINK_KEY_FIELD_NUMBER: _ClassVar[int]
    public_key: bytes
    sign_pub: bytes
    metadata_heads_cids: _containers.RepeatedScalarFieldContainer[bytes]
    messages_heads_cids: _containers.RepeatedScalarFieldContainer[bytes]
    link_key: bytes
    def __init__(self, public_key: _Optional[bytes] = ..., sign_pub: _Optional[bytes] = ..., metadata_heads_cids: _Optional[_Iterable[bytes]] = ..., messages_heads_cids: _Optional[_Iterable[bytes]] = ..., link_key: _Optional[bytes] = ...) -> None: ...

class ProtocolMetadata(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MessageEnvelope(_message.Message):
    __slots__ = ("message_headers", "message", "nonce")
    MESSAGE_HEADERS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    message_headers: bytes
    message: bytes
    nonce: bytes
    def __init__(self, message_headers: _Optional[bytes] = ..., message: _Optional[bytes] = ..., nonce: _Optional[bytes] = ...) -> None: ...

class MessageHeaders(_message.Message):
    __slots__ = ("counter", "device_pk", "sig", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    SIG_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    counter: int
    device_pk: bytes
    sig: bytes
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, counter: _Optional[int] = ..., device_pk: _Optional[bytes] = ..., sig: _Optional[bytes] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class EncryptedMessage(_message.Message):
    __slots__ = ("plaintext", "protocol_metadata")
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_METADATA_FIELD_NUMBER: _ClassVar[int]
    plaintext: bytes
    protocol_metadata: ProtocolMetadata
    def __init__(self, plaintext: _Optional[bytes] = ..., protocol_metadata: _Optional[_Union[ProtocolMetadata, _Mapping]] = ...) -> None: ...

class DeviceChainKey(_message.Message):
    __slots__ = ("chain_key", "counter")
    CHAIN_KEY_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    chain_key: bytes
    counter: int
    def __init__(self, chain_key: _Optional[bytes] = ..., counter: _Optional[int] = ...) -> None: ...

class GroupEnvelope(_message.Message):
    __slots__ = ("nonce", "event")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    event: bytes
    def __init__(self, nonce: _Optional[bytes] = ..., event: _Optional[bytes] = ...) -> None: ...

class GroupMetadata(_message.Message):
    __slots__ = ("event_type", "payload", "sig", "protocol_metadata")
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SIG_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_METADATA_FIELD_NUMBER: _ClassVar[int]
    event_type: int
    payload: bytes
    sig: bytes
    protocol_metadata: ProtocolMetadata
    def __init__(self, event_type: _Optional[int] = ..., payload: _Optional[bytes] = ..., sig: _Optional[bytes] = ..., protocol_metadata: _Optional[_Union[ProtocolMetadata, _Mapping]] = ...) -> None: ...

class ShareableContact(_message.Message):
    __slots__ = ("pk", "public_rendezvous_seed", "metadata")
    PK_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_RENDEZVOUS_SEED_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    pk: bytes
    public_rendezvous_seed: bytes
    metadata: bytes
    def __init__(self, pk: _Optional[bytes] = ..., public_rendezvous_seed: _Optional[bytes] = ..., metadata: _Optional[bytes] = ...) -> None: ...

class GroupMemberDeviceAdded(_message.Message):
    __slots__ = ("member_pk", "device_pk", "member_sig")
    MEMBER_PK_FIELD_NUMBER: _ClassVar[int]
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    MEMBER_SIG_FIELD_NUMBER: _ClassVar[int]
    member_pk: bytes
    device_pk: bytes
    member_sig: bytes
    def __init__(self, member_pk: _Optional[bytes] = ..., device_pk: _Optional[bytes] = ..., member_sig: _Optional[bytes] = ...) -> None: ...

class GroupDeviceChainKeyAdded(_message.Message):
    __slots__ = ("device_pk", "dest_member_pk", "payload")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    DEST_MEMBER_PK_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    dest_member_pk: bytes
    payload: bytes
    def __init__(self, device_pk: _Optional[bytes] = ..., dest_member_pk: _Optional[bytes] = ..., payload: _Optional[bytes] = ...) -> None: ...

class AccountGroupJoined(_message.Message):
    __slots__ = ("device_pk", "group")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    group: Group
    def __init__(self, device_pk: _Optional[bytes] = ..., group: _Optional[_Union[Group, _Mapping]] = ...) -> None: ...

class AccountGroupLeft(_message.Message):
    __slots__ = ("device_pk", "group_pk")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    GROUP_PK_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    group_pk: bytes
    def __init__(self, device_pk: _Optional[bytes] = ..., group_pk: _Optional[bytes] = ...) -> None: ...

class AccountContactRequestDisabled(_message.Message):
    __slots__ = ("device_pk",)
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    def __init__(self, device_pk: _Optional[bytes] = ...) -> None: ...

class AccountContactRequestEnabled(_message.Message):
    __slots__ = ("device_pk",)
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    def __init__(self, device_pk: _Optional[bytes] = ...) -> None: ...

class AccountContactRequestReferenceReset(_message.Message):
    __slots__ = ("device_pk", "public_rendezvous_seed")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_RENDEZVOUS_SEED_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    public_rendezvous_seed: bytes
    def __init__(self, device_pk: _Optional[bytes] = ..., public_rendezvous_seed: _Optional[bytes] = ...) -> None: ...

class AccountContactRequestOutgoingEnqueued(_message.Message):
    __slots__ = ("device_pk", "group_pk", "contact", "own_metadata")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    GROUP_PK_FIELD_NUMBER: _ClassVar[int]
    CONTACT_FIELD_NUMBER: _ClassVar[int]
    OWN_METADATA_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    group_pk: bytes
    contact: ShareableContact
    own_metadata: bytes
    def __init__(self, device_pk: _Optional[bytes] = ..., group_pk: _Optional[bytes] = ..., contact: _Optional[_Union[ShareableContact, _Mapping]] = ..., own_metadata: _Optional[bytes] = ...) -> None: ...

class AccountContactRequestOutgoingSent(_message.Message):
    __slots__ = ("device_pk", "contact_pk")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    CONTACT_PK_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    contact_pk: bytes
    def __init__(self, device_pk: _Optional[bytes] = ..., contact_pk: _Optional[bytes] = ...) -> None: ...

class AccountContactRequestIncomingReceived(_message.Message):
    __slots__ = ("device_pk", "contact_pk", "contact_rendezvous_seed", "contact_metadata")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    CONTACT_PK_FIELD_NUMBER: _ClassVar[int]
    CONTACT_RENDEZVOUS_SEED_FIELD_NUMBER: _ClassVar[int]
    CONTACT_METADATA_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    contact_pk: bytes
    contact_rendezvous_seed: bytes
    contact_metadata: bytes
    def __init__(self, device_pk: _Optional[bytes] = ..., contact_pk: _Optional[bytes] = ..., contact_rendezvous_seed: _Optional[bytes] = ..., contact_metadata: _Optional[bytes] = ...) -> None: ...

class AccountContactRequestIncomingDiscarded(_message.Message):
    __slots__ = ("device_pk", "contact_pk")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    CONTACT_PK_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    contact_pk: bytes
    def __init__(self, device_pk: _Optional[bytes] = ..., contact_pk: _Optional[bytes] = ...) -> None: ...

class AccountContactRequestIncomingAccepted(_message.Message):
    __slots__ = ("device_pk", "contact_pk", "group_pk")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    CONTACT_PK_FIELD_NUMBER: _ClassVar[int]
    GROUP_PK_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    contact_pk: bytes
    group_pk: bytes
    def __init__(self, device_pk: _Optional[bytes] = ..., contact_pk: _Optional[bytes] = ..., group_pk: _Optional[bytes] = ...) -> None: ...

class AccountContactBlocked(_message.Message):
    __slots__ = ("device_pk", "contact_pk")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    CONTACT_PK_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    contact_pk: bytes
    def __init__(self, device_pk: _Optional[bytes] = ..., contact_pk: _Optional[bytes] = ...) -> None: ...

class AccountContactUnblocked(_message.Message):
    __slots__ = ("device_pk", "contact_pk")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    CONTACT_PK_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    contact_pk: bytes
    def __init__(self, device_pk: _Optional[bytes] = ..., contact_pk: _Optional[bytes] = ...) -> None: ...

class ContactAliasKeyAdded(_message.Message):
    __slots__ = ("device_pk", "alias_pk")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    ALIAS_PK_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    alias_pk: bytes
    def __init__(self, device_pk: _Optional[bytes] = ..., alias_pk: _Optional[bytes] = ...) -> None: ...

class MultiMemberGroupAliasResolverAdded(_message.Message):
    __slots__ = ("device_pk", "alias_resolver", "alias_proof")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    ALIAS_RESOLVER_FIELD_NUMBER: _ClassVar[int]
    ALIAS_PROOF_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    alias_resolver: bytes
    alias_proof: bytes
    def __init__(self, device_pk: _Optional[bytes] = ..., alias_resolver: _Optional[bytes] = ..., alias_proof: _Optional[bytes] = ...) -> None: ...

class MultiMemberGroupInitialMemberAnnounced(_message.Message):
    __slots__ = ("member_pk",)
    MEMBER_PK_FIELD_NUMBER: _ClassVar[int]
    member_pk: bytes
    def __init__(self, member_pk: _Optional[bytes] = ...) -> None: ...

class MultiMemberGroupAdminRoleGranted(_message.Message):
    __slots__ = ("device_pk", "grantee_member_pk")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    GRANTEE_MEMBER_PK_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    grantee_member_pk: bytes
    def __init__(self, device_pk: _Optional[bytes] = ..., grantee_member_pk: _Optional[bytes] = ...) -> None: ...

class GroupReplicating(_message.Message):
    __slots__ = ("device_pk", "authentication_url", "replication_server")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    AUTHENTICATION_URL_FIELD_NUMBER: _ClassVar[int]
    REPLICATION_SERVER_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    authentication_url: str
    replication_server: str
    def __init__(self, device_pk: _Optional[bytes] = ..., authentication_url: _Optional[str] = ..., replication_server: _Optional[str] = ...) -> None: ...

class AccountVerifiedCredentialRegistered(_message.Message):
    __slots__ = ("device_pk", "signed_identity_public_key", "verified_credential", "registration_date", "expiration_date", "identifier", "issuer")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    SIGNED_IDENTITY_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_DATE_FIELD_NUMBER: _ClassVar[int]
    EXPIRATION_DATE_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    signed_identity_public_key: bytes
    verified_credential: str
    registration_date: int
    expiration_date: int
    identifier: str
    issuer: str
    def __init__(self, device_pk: _Optional[bytes] = ..., signed_identity_public_key: _Optional[bytes] = ..., verified_credential: _Optional[str] = ..., registration_date: _Optional[int] = ..., expiration_date: _Optional[int] = ..., identifier: _Optional[str] = ..., issuer: _Optional[str] = ...) -> None: ...

class GroupMetadataPayloadSent(_message.Message):
    __slots__ = ("device_pk", "message")
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    device_pk: bytes
    message: bytes
    def __init__(self, device_pk: _Optional[bytes] = ..., message: _Optional[bytes] = ...) -> None: ...

class OrbitDBMessageHeads(_message.Message):
    __slots__ = ("sealed_box", "raw_rotation")
    SEALED_BOX_FIELD_NUMBER: _ClassVar[int]
    RAW_ROTATION_FIELD_NUMBER: _ClassVar[int]
    sealed_box: bytes
    raw_rotation: bytes
    def __init__(self, sealed_box: _Optional[bytes] = ..., raw_rotation: _Optional[bytes] = ...) -> None: ...

class HeadsBox(_message.Message):
    __slots__ = ("address", "heads", "device_pk", "peer_id")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    address: str
    heads: bytes
    device_pk: bytes
    peer_id: bytes
    def __init__(self, address: _Optional[str] = ..., heads: _Optional[bytes] = ..., device_pk: _Optional[bytes] = ..., peer_id: _Optional[bytes] = ...) -> None: ...

class HelloPayload(_message.Message):
    __slots__ = ("ephemeral_pub_key",)
    EPHEMERAL_PUB_KEY_FIELD_NUMBER: _ClassVar[int]
    ephemeral_pub_key: bytes
    def __init__(self, ephemeral_pub_key: _Optional[bytes] = ...) -> None: ...

class BoxEnvelope(_message.Message):
    __slots__ = ("box",)
    BOX_FIELD_NUMBER: _ClassVar[int]
    box: bytes
    def __init__(self, box: _Optional[bytes] = ...) -> None: ...

class RequesterAuthenticatePayload(_message.Message):
    __slots__ = ("requester_account_id", "requester_account_sig")
    REQUESTER_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUESTER_ACCOUNT_SIG_FIELD_NUMBER: _ClassVar[int]
    requester_account_id: bytes
    requester_account_sig: bytes
    def __init__(self, requester_account_id: _Optional[bytes] = ..., requester_account_sig: _Optional[bytes] = ...) -> None: ...

class ResponderAcceptPayload(_message.Message):
    __slots__ = ("responder_account_sig",)
    RESPONDER_ACCOUNT_SIG_FIELD_NUMBER: _ClassVar[int]
    responder_account_sig: bytes
    def __init__(self, responder_account_sig: _Optional[bytes] = ...) -> None: ...

class RequesterAcknowledgePayload(_message.Message):
    __slots__ = ("success",)
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    def __init__(self, success: _Optional[bool] = ...) -> None: ...

class OutOfStoreMessageEnvelope(_message.Message):
    __slots__ = ("nonce", "box", "group_reference")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    GROUP_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    box: bytes
    group_reference: bytes
    def __init__(self, nonce: _Optional[bytes] = ..., box: _Optional[bytes] = ..., group_reference: _Optional[bytes] = ...) -> None: ...

class OutOfStoreMessage(_message.Message):
    __slots__ = ("cid", "device_pk", "counter", "sig", "flags", "encrypted_payload", "nonce")
    CID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_PK_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    SIG_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTED_PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    cid: bytes
    device_pk: bytes
    counter: int
    sig: bytes
    flags: int
    encrypted_payload: bytes
    nonce: bytes
    def __init__(self, cid: _Optional[bytes] = ..., device_pk: _Optional[bytes] = ..., counter: _Optional[int] = ..., sig: _Optional[bytes] = ..., flags: _Optional[int] = ..., encrypted_payload: _Optional[bytes] = ..., nonce: _Optional[bytes] = ...) -> None: ...

class LocalRecords(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[LocalRecord]
    def __init__(self, records: _Optional[_Iterable[_Union[LocalRecord, _Mapping]]] = ...) -> None: ...

class LocalRecord(_message.Message):
    __slots__ = ("cid", "expire")
    CID_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_FIELD_NUMBER: _ClassVar[int]
    cid: str
    expire: int
    def __init__(self, cid: _Optional[str] = ..., expire: _Optional[int] = ...) -> None: ...
