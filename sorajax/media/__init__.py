"""Video and picture files."""

MIN_FPS, MAX_FPS = 1, 120
"""Range of frame rates, in frames per second, that are read and generated."""
