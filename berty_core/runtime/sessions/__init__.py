"""Conversations over links: the pumps that join the machines of sessions and of sync to links and to the store."""
