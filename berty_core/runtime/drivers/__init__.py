"""What stands between the node and strangers' drivers: they are started, watched, limited and named."""
