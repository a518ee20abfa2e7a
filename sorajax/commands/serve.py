"""Serves videos over HTTP, by the API of OpenAI's videos.

    python -m sorajax.serve                                        with the model that comes with sorajax
    python -m sorajax.serve --model Wan-AI/Wan2.1-T2V-1.3B-Diffusers --keep-days 7
    python -m sorajax.serve keys add alice                         makes an API key
    python -m sorajax.serve --host 0.0.0.0                         for other machines: needs keys
    python -m sorajax.serve --database postgresql://USER:PASSWORD@HOST/NAME --files /shared --worker

The last line is for further machines that sample for the same server. Clients of OpenAI's videos take the address as
their base_url, e.g. http://127.0.0.1:8000/v1. The page docs/server.md has examples.

Exit codes: 0 ended by a signal, 1 a model, database or address failed, 2 the options are invalid.
"""

import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec

import tyro

from sorajax.commands.failures import Failure, attempt, complain
from sorajax.commands.parsing import parse_options
from sorajax.errors import BadRequest
from sorajax.server.options import AddKey, KeyCommand, RevokeKey, ServeOptions, check

LIBRARIES = (
    "fastapi",
    "uvicorn",
    "wsproto",
    "sqlalchemy",
    "alembic",
    "multipart",
    "prometheus_client",
    "standardwebhooks",
    "httpx",
)
PROGRAM = "python -m sorajax.serve"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        if missing := [name for name in LIBRARIES if find_spec(name) is None]:
            raise BadRequest(f'the server needs {", ".join(missing)}: pip install "sorajax[serve]"')
        if arguments[:1] == ["keys"]:
            return manage_keys(arguments[1:])
        return serve(parse(arguments), arguments)
    except SystemExit as exit:  # tyro has shown the help
        return exit.code if isinstance(exit.code, int) else 1
    except BadRequest as error:
        return complain(error, 2)
    except Failure as error:
        return complain(error, 1)
    except KeyboardInterrupt:
        return complain("interrupted", 130)


def parse(arguments: Sequence[str]) -> ServeOptions:
    """The options of a command line. Raises BadRequest for an unknown one, and for a value out of range."""
    flags = (tyro.conf.DisallowNone, tyro.conf.FlagCreatePairsOff)
    options: ServeOptions = parse_options(ServeOptions, PROGRAM, arguments, __doc__, flags)
    check(options)
    return options


def serve(options: ServeOptions, arguments: Sequence[str]) -> int:
    """Runs a server, or a worker."""
    from sorajax.server.processes import run_server, run_worker

    return attempt(lambda: run_worker(options) if options.worker else run_server(options, arguments))


def manage_keys(arguments: Sequence[str]) -> int:
    """Makes, lists and revokes API keys."""
    from sorajax.server import keys
    from sorajax.server.processes import open_database

    command = parse_options(KeyCommand, f"{PROGRAM} keys", arguments)
    database = attempt(lambda: open_database(command.data, command.database))
    if isinstance(command, AddKey):
        number, key = keys.make_key(database, command.name)
        print(f"{number}\n{key}\nThe key is shown once: clients send it as Authorization: Bearer KEY")
    elif isinstance(command, RevokeKey):
        if not keys.revoke_key(database, command.id):
            raise BadRequest(f"there is no valid key {command.id}: `{PROGRAM} keys list` shows them")
        print(f"{command.id} is revoked")
    else:
        for row in keys.keys_of(database):
            date = datetime.fromtimestamp(row["created_at"]).date()
            print(row["id"], date, row["name"], *["(revoked)"] * row["revoked"])
    return 0
