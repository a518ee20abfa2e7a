"""A key is found by its hash, as long as it is not revoked."""

from sorajax.server.keys import PREFIX, digest, keys_of, make_key, owner_of, revoke_key
from sorajax.server.processes import open_database


def test_a_key_has_an_owner_until_it_is_revoked(tmp_path):
    database = open_database(tmp_path, None)
    (number, key), (other, _) = (make_key(database, name) for name in ("alice", "bob"))
    assert key.startswith(PREFIX)
    assert (owner_of(database, key), owner_of(database, f"{key}x")) == (number, None)
    rows = keys_of(database)
    assert [(row["id"], row["name"]) for row in rows] == [(number, "alice"), (other, "bob")]
    assert rows[0]["hash"] == digest(key)
    assert key not in str(rows)
    assert [revoke_key(database, number) for _ in range(2)] == [True, False]
    assert owner_of(database, key) is None
