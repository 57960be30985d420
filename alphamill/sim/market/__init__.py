"""Markets to simulate: synthetic price paths and recordings."""
