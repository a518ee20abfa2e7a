"""An error is one line in the API's shape, and its type is that of its status."""

import pytest

from sorajax.server.failures import ApiError, error_body, invalid, missing


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (404, "not_found_error"), (418, "invalid_request_error"), (500, "server_error")],
)
def test_the_type_is_that_of_the_status(status, kind):
    assert error_body(status, "a\n b", "size", "c") == {
        "error": {"message": "a b", "type": kind, "param": "size", "code": "c"}
    }


def test_an_error_has_its_status_and_its_field():
    wrong, gone = invalid("no", "size"), missing("video", "v" * 99, "video_id")
    assert (wrong.status, wrong.body["error"]["param"], wrong.headers) == (400, "size", {})
    assert (gone.status, gone.code) == (404, "not_found")
    assert str(gone) == f"there is no video '{'v' * 80}': it was deleted, or its id is wrong"
    assert ApiError(429, "wait", headers={"Retry-After": "1"}).headers == {"Retry-After": "1"}
