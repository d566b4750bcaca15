"""A transport with a bus, as the node uses it: groups that are spoken to, links of its own, and who is there."""
