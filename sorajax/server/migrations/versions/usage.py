"""The table `usage`: seconds of video stay counted when a video is deleted."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Creates the table, with the videos that did not fail."""
    op.create_table(
        "usage",
        sa.Column("video", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
    )
    op.create_index("usage_by_owner", "usage", ["owner", "created_at"])
    op.execute(
        "INSERT INTO usage (video, owner, created_at, seconds) "
        "SELECT id, owner, created_at, seconds FROM videos WHERE status <> 'failed'"
    )
