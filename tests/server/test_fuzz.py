"""schemathesis, from the OpenAPI description, finds no 5xx."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_no_request_that_openapi_allows_is_a_5xx(idle, tmp_path):
    command = ["run", f"{idle.address}/openapi.json", "--checks", "not_a_server_error", "--max-examples", "4"]
    program = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        *command,
        "--seed",
        "1",
        "--phases",
        "examples,coverage,fuzzing",
    ]
    done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path, timeout=170)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
