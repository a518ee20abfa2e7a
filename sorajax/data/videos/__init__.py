"""Videos of one's own as training data."""
