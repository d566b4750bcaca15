"""Berty over unix: `plugin` has the hooks, `transport` the decisions, `driver` the calls of the platform."""
