"""Migrations, each named by what it adds."""
