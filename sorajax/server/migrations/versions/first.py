"""The tables before there were migrations; nothing is to be done."""

revision = "1"
down_revision = None


def upgrade() -> None:
    """Nothing: a new database is created with the tables of today."""
