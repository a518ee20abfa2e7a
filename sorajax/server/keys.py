"""API keys: made by `python -m sorajax.serve keys`, shown once, and stored by their hash."""

import hashlib
import secrets
from typing import Any

from sqlalchemy import Engine, insert, select, update

from sorajax.server.database import KEYS, as_dict, now
from sorajax.server.jobs import new_id

PREFIX = "sk-sorajax-"


def digest(key: str) -> str:
    """The hash of a key, which is stored in its place."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def make_key(engine: Engine, name: str) -> tuple[str, str]:
    """A new key: its id, and the key itself, which is stored nowhere."""
    key, number = PREFIX + secrets.token_urlsafe(32), new_id("key")
    with engine.begin() as connection:
        values = {"id": number, "name": name, "hash": digest(key), "created_at": now(), "revoked": False}
        connection.execute(insert(KEYS).values(values))
    return number, key


def revoke_key(engine: Engine, number: str) -> bool:
    """Revokes a key by its id; false if there is none."""
    with engine.begin() as connection:
        query = update(KEYS).where(KEYS.c.id == number, KEYS.c.revoked.is_(False)).values(revoked=True)
        return connection.execute(query).rowcount == 1


def keys_of(engine: Engine) -> list[dict[str, Any]]:
    """All keys, oldest first."""
    with engine.connect() as connection:
        return [as_dict(row) for row in connection.execute(select(KEYS).order_by(KEYS.c.created_at))]


def owner_of(engine: Engine, key: str) -> str | None:
    """The id of a key that is valid, None if it is not."""
    with engine.connect() as connection:
        query = select(KEYS.c.id).where(KEYS.c.hash == digest(key), KEYS.c.revoked.is_(False))
        return connection.execute(query).scalar_one_or_none()
