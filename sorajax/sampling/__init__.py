"""From a request to frames."""
