"""Protobuf of the libp2p protocols, generated from `libp2p.proto` beside it."""
