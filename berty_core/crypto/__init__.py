"""Keys, boxes, key derivation and sealing at rest. Only this room imports nacl and cryptography."""
