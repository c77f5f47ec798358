"""A step's time against the context, without and with a cache."""
