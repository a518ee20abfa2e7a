"""What a service refuses before a job is queued, and which files its jobs need."""

import base64
from dataclasses import replace

import pytest

from sorajax.server.failures import ApiError
from sorajax.server.keys import make_key
from sorajax.server.options import ServeOptions
from sorajax.server.processes import content_of, open_database
from sorajax.server.service import ANYONE, Service, contents_of
from tests.server.toy import job


@pytest.fixture
def service(tmp_path):
    options = ServeOptions(data=tmp_path, max_jobs=2, max_seconds_a_day=2.5)
    return Service(options, open_database(tmp_path, None), content_of(options))


def refused(call, *arguments):
    with pytest.raises(ApiError) as caught:
        call(*arguments)
    return caught.value.status, caught.value.code


def test_a_key_is_needed_where_other_machines_reach_the_server(service):
    assert service.owner(None) == ANYONE
    assert service.check_keys()
    service.options = replace(service.options, host="0.0.0.0")
    assert not service.check_keys()
    number, key = make_key(service.database, "alice")
    assert service.check_keys()
    assert service.owner(f"bearer {key}") == number
    for authorization in (None, "", f"Basic {base64.b64encode(key.encode()).decode()}", "Bearer", f"Bearer {key}x"):
        assert refused(service.owner, authorization) == (401, "invalid_api_key")


def test_jobs_and_seconds_of_a_key_are_limited(service):
    for _ in range(2):
        service.check_queue("local")
        service.check_day("local", 1.0)
        service.jobs.add(job("a"))
    assert refused(service.check_queue, "local") == (429, "queue_full")
    assert refused(service.check_day, "local", 1.0) == (429, "daily_limit")
    service.check_queue("another")
    service.check_day("another", 2.5)


def test_without_a_worker_no_model_is_served(service):
    assert refused(service.served) == (503, "model_not_ready")


def test_files_of_a_spec_are_found_at_any_depth():
    spec = {"inputs": [{"content": "a.png"}], "options": {"mask": {"content": "b.png"}, "strength": 0.5}}
    spec["scenes"] = [{"image": {"content": "c.png"}}, {"image": None}]
    assert contents_of(spec) == ["a.png", "b.png", "c.png"]
