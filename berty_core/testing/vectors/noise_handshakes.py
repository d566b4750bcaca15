"""Recorded Noise XX handshakes: our side replayed, both sides' proofs checked, the transport keys used."""

from __future__ import annotations

from ...codec.base58 import encode_base58
from ...crypto.keys import PrivateKey, Secret, decode_public, encode_public, verify, x25519_pair
from ...protocol.noise import CipherState, NoiseHandshake
from .known import Known
from .recording import Place
from .report import Report
from .wire import field_bytes, read_fields

_SIGNED = b"noise-libp2p-static-key:"


def check_noise(report: Report, known: Known, root: Place) -> None:
    """Check a file of handshakes."""
    for place in root["vectors"]:
        with report.attempt("noise: handshake", place):
            check_handshake(report, place, place["our_identity_seed"])


def check_handshake(report: Report, place: Place, identity_seed: Place) -> tuple[CipherState, CipherState]:
    """Replay one handshake; give back the ciphers (ours to the peer, the peer's to us)."""
    initiator = {"initiator": True, "responder": False}[place["our_role"].text()]
    for name in ("ephemeral", "static"):
        _, public = x25519_pair(place[f"our_{name}_private"].bytes())
        report.equal("noise: keys", place[f"our_{name}_public"], public)
    handshake = NoiseHandshake(
        initiator,
        Secret(place["our_static_private"].bytes()),
        Secret(place["our_ephemeral_private"].bytes()),
        place["prologue"].bytes(),
    )
    _trace(report, place, handshake, 0)
    for number in (1, 2, 3):
        _message(report, place, handshake, number)
    report.equal("noise: handshake", place["handshake_hash"], handshake.handshake_hash)
    report.equal("noise: keys", place["peer_static_public"], handshake.remote_static)
    peer_first = place["message_2" if initiator else "message_1"].bytes()[:32]
    report.equal("noise: keys", place["peer_ephemeral_public"], peer_first)
    report.equal("noise: handshake", place["chaining_key"], bytes(handshake._symmetric.chaining_key))
    name = "Noise_XX_25519_ChaChaPoly_SHA256"
    report.equal("noise: handshake", place["protocol_name"], name)
    _proofs(report, place, identity_seed, initiator)
    send, receive = handshake.split()
    _transport(report, place, initiator)
    return send, receive


def _message(report: Report, place: Place, handshake: NoiseHandshake, number: int) -> None:
    message, payload = place[f"message_{number}"], place[f"payload_{number}"]
    if handshake.our_turn:
        report.equal("noise: our message", message, handshake.write_message(payload.bytes()))
    else:
        report.equal("noise: payload of the peer", payload, handshake.read_message(message.bytes()))
    _trace(report, place, handshake, number)


def _trace(report: Report, place: Place, handshake: NoiseHandshake, number: int) -> None:
    """Hash and chaining key after a message; they are internal, and shown here to whoever looks for a fault."""
    trace = place["trace_h_ck"][number]
    if trace:
        report.equal("noise: trace", trace[1], bytes(handshake._symmetric.hash))
        report.equal("noise: trace", trace[2], bytes(handshake._symmetric.chaining_key))


def _proofs(report: Report, place: Place, identity_seed: Place, initiator: bool) -> None:
    """Messages 2 and 3 carry an identity key that signs the static key of their sender."""
    kind = "noise: identity"
    identities = {}
    for number, ours in ((2, not initiator), (3, initiator)):
        payload = read_fields(place[f"payload_{number}"].bytes())
        key, signature = field_bytes(payload, 1), field_bytes(payload, 2)
        listed = place[f"payload_{number}_fields"]
        report.equal(kind, listed["identity_key"], key)
        report.equal(kind, listed["identity_sig"], signature)
        report.equal(kind, listed["has_extension"], any(field == 4 for field, _, _ in payload))
        extension = read_fields(field_bytes(payload, 4))
        report.equal(
            kind,
            listed["stream_muxers"],
            [value.decode() for number_, value, _ in extension if number_ == 2 and isinstance(value, bytes)],
        )
        report.equal(kind, listed["extension_fields"], sorted({number_ for number_, _, _ in extension}))
        static = place["our_static_public" if ours else "peer_static_public"].bytes()
        good = verify(decode_public(key), _SIGNED + static, signature)
        report.true(kind, place[f"payload_{number}"], good, "the identity did not sign the static key")
        if ours and identity_seed:
            _own_proof(report, place, PrivateKey(identity_seed.bytes()), number, static)
        identities[number] = encode_base58(b"\x00\x24" + key)
    report.equal(kind, place["signed_text_prefix"], _SIGNED)
    report.equal(kind, place["responder_peer_id"], identities[2])
    report.equal(kind, place["initiator_peer_id"], identities[3])


def _own_proof(report: Report, place: Place, identity: PrivateKey, number: int, static: bytes) -> None:
    listed = place[f"payload_{number}_fields"]
    report.equal("noise: our identity made again", listed["identity_key"], encode_public(identity.public))
    report.equal("noise: our identity made again", listed["identity_sig"], identity.sign(_SIGNED + static))


def _transport(report: Report, place: Place, initiator: bool) -> None:
    """The first message of each side, under the recorded keys."""
    there, back = place["key_initiator_to_responder"], place["key_responder_to_initiator"]
    ours, theirs = (there, back) if initiator else (back, there)
    for name, key in (("first_transport_message_ours", ours), ("first_transport_message_peer", theirs)):
        message = place[name]
        if message and key:
            sealed = CipherState(key.bytes()).encrypt(message["plain"].bytes())
            report.equal("noise: first transport message", message["cipher"], sealed)
            report.equal("noise: first transport message", message["nonce"], bytes(12))
