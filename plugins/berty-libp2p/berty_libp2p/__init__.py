"""The session profile of Berty apps and weshnet: libp2p over any stream link."""
