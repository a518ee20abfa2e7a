"""The tables before there were migrations; does nothing."""

revision = "1"
down_revision = None


def upgrade() -> None:
    """Nothing: a new database is created with the tables of today."""
