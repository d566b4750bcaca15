"""Parts of a history as files: written for those who lack them, and taken in again (docs/reference/bundle.md)."""
