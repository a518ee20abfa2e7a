"""Alembic's environment: runs migrations on the connection, and in the transaction, of `prepare`."""

from alembic import context

from sorajax.server.database import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
