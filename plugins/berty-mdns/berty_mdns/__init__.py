"""Berty on a local network: discovery by multicast DNS, links over TCP."""
