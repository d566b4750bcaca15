"""The running node: what joins the pure protocol to a store, to transports and to a clock."""
