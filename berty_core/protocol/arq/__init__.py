"""A reliable ordered stream of bytes over datagrams: selective repeat (docs/reference/datagram-links.md)."""
