"""Worlds that one acts in."""
