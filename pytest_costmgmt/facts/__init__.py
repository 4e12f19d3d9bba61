"""Facts about a server: read only, plain data, gathered once in the controller."""
