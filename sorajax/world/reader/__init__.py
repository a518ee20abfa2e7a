"""The instrument: a clip of the world, read back into words."""
