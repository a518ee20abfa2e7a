"""Video and picture files."""

LEAST_FPS, MOST_FPS = 1, 120
"""Frame rates that are read and made."""
