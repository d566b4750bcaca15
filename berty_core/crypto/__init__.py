"""Keys, boxes, key derivation and sealing at rest. The only room that imports nacl and cryptography; no primitive of its own."""
