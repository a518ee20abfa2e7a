"""The server's command line: its keys, and what it lacks."""

import pytest

from sorajax.commands import serve
from sorajax.commands.serve import main, parse
from sorajax.errors import BadRequest
from sorajax.server import keys
from sorajax.server.processes import open_database


def test_keys_are_made_listed_and_revoked(tmp_path, capfd):
    data = ["--data", str(tmp_path)]
    assert main(["keys", "add", "alice", *data]) == 0
    number, key, _ = capfd.readouterr().out.splitlines()
    assert keys.owner_of(open_database(tmp_path, None), key) == number
    main(["keys", "list", *data])
    out = capfd.readouterr().out
    assert number in out
    assert key not in out
    assert main(["keys", "revoke", number, *data]) == 0
    assert keys.owner_of(open_database(tmp_path, None), key) is None
    assert main(["keys", "revoke", number, *data]) == 2


def test_options_are_parsed_and_checked(tmp_path):
    assert parse(["--data", str(tmp_path), "--batch", "3", "--require-keys"]).batch == 3
    with pytest.raises(BadRequest, match="--prt is not an option: did you mean --port"):
        parse(["--prt", "3"])


def test_missing_libraries_are_named(monkeypatch, capsys):
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name in ("fastapi", "httpx") else name)
    assert main([]) == 2
    assert capsys.readouterr().err == 'sorajax: the server needs fastapi, httpx: pip install "sorajax[serve]"\n'
