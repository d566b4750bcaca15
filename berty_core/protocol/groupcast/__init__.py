"""Members of a group who share a bus: one sealed datagram for all of them (docs/reference/groupcast.md)."""
