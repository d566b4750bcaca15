"""An account on this device: its groups, their logs and chains, in the store. Nothing here knows a link."""
