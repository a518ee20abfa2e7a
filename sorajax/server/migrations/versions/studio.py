"""The tables `favourites` and `previews` of the studio."""

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    """Creates them, empty."""
    op.create_table(
        "favourites",
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("video", sa.String(64), nullable=False),
        sa.UniqueConstraint("owner", "video"),
    )
    op.create_table(
        "previews",
        sa.Column("video", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("image", sa.LargeBinary, nullable=False),
        sa.Column("made_at", sa.Float, nullable=False),
    )
