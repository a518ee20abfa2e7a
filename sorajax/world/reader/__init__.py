"""The reader: recovers the attributes of a scene of the world from the pixels of a clip, by classical vision."""
