"""The application: what it answers without a worker, and errors in one shape."""

import errno
import json

import pytest
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from sorajax.server import logs
from sorajax.server.api import answer_database_error, application
from sorajax.server.options import ServeOptions
from sorajax.server.processes import content_of, open_database
from sorajax.server.service import Service


@pytest.fixture
def client(tmp_path):
    """A client of the API without a server and without a worker."""
    logs.SETTINGS["quiet"] = True
    options = ServeOptions(data=tmp_path, allow_host=("testserver",))
    return TestClient(application(Service(options, open_database(tmp_path, None), content_of(options))))


def test_without_a_worker_it_is_alive_and_not_ready(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    for path in ("/readyz", "/v1/models"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_ready")
        assert answer.headers["retry-after"] == "2"
    assert "sorajax_workers 0.0" in client.get("/metrics").text


def test_unknown_paths_and_parameters_have_the_shape_of_errors(client):
    for path, status, param in (("/v1/nothing", 404, None), ("/v1/videos?limit=0", 400, "limit")):
        error = client.get(path).json()["error"]
        assert (client.get(path).status_code, error["param"]) == (status, param)
        assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 507, "disk_full"),
        (OperationalError("select", {}, Exception("connection refused")), 503, "database"),
    ],
)
def test_a_full_disk_and_a_database_that_is_away_are_told_apart(error, status, code):
    answer = answer_database_error(None, error)
    assert (answer.status_code, json.loads(answer.body)["error"]["code"]) == (status, code)
    assert int(answer.headers["retry-after"]) > 0
