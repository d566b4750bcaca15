"""The UDP transport of Berty: `plugin` has the hooks, `transport` the decisions, `driver` the sockets."""
