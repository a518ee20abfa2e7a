"""The user's own videos as training data."""
