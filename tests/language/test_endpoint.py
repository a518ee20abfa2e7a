"""A real client against a server that answers well, wrongly, slowly, and not at all."""

import builtins
import json
import logging
import re
import time
from dataclasses import replace

import pytest
from fastapi.responses import Response

from sorajax.errors import BadRequest
from sorajax.language.endpoint import (
    KEY,
    OPENAI_KEY,
    BadAnswer,
    Endpoint,
    EndpointError,
    Question,
    UnusableText,
    checked_fields,
    checked_url,
)
from tests.language.chat_server import captioned, completion, failing

SECRET = "sk-a-secret-that-nobody-sees"
QUESTION = Question("Describe.", ({"type": "text", "text": "a clip"},), {"short": 5, "detailed": 12})
GOOD = {"short": "a red ball bounces", "detailed": "A red ball bounces on a grey floor."}


def test_an_answer_is_checked_json_and_asked_for_once(endpoint, chat):
    assert endpoint.ask(QUESTION) == GOOD
    assert endpoint.ask(QUESTION) == GOOD
    (body,) = chat.bodies
    assert body["model"] == "watcher"
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["short", "detailed"]
    other = replace(endpoint, model="other")
    assert other.ask(QUESTION) == endpoint.ask(QUESTION._replace(seed=1)) == GOOD
    assert len(chat.bodies) == 3, "another model or seed is another question"


def test_a_model_that_moves_to_another_address_keeps_its_answers(endpoint, chat):
    endpoint.ask(QUESTION)
    moved = replace(endpoint, url="http://127.0.0.1:9/v1")
    assert moved.ask(QUESTION) == GOOD


@pytest.mark.parametrize(
    "bad",
    [
        completion("A red ball."),
        completion('{"short": "a red ball"'),
        completion('["a", "b"]'),
        completion('{"short": "a red ball"}'),
        completion('{"short": "a red ball", "detailed": 3}'),
        completion('{"short": " ", "detailed": "A red ball."}'),
        captioned(short="one two three four five six"),
        completion(""),
        completion(None),
        completion(None, message={"refusal": "I cannot"}),
        completion("{", finish_reason="length"),
        completion("{}", finish_reason="content_filter"),
        captioned(short="I'm sorry, but I"),
        captioned(detailed="I cannot see pictures."),
    ],
)
def test_a_bad_answer_is_asked_again_with_another_seed(bad, endpoint, chat):
    chat.replies = [bad]
    assert endpoint.ask(QUESTION) == GOOD
    assert [body["seed"] for body in chat.bodies] == [0, 1]


def test_a_question_may_have_a_check_of_its_own(endpoint, chat):
    chat.replies = [captioned(short="a ball")]
    assert endpoint.ask(QUESTION, lambda answer: "" if "red" in answer["short"] else "no colour") == GOOD
    assert len(chat.bodies) == 2
    with pytest.raises(BadAnswer, match=r"in 3 tries: no colour$"):
        endpoint.ask(QUESTION._replace(seed=1), lambda answer: "no colour")


def test_tries_have_a_limit_and_bad_answers_are_not_kept(endpoint, chat):
    chat.replies = [completion("what a fine clip")] * 3
    with pytest.raises(BadAnswer, match=r"^watcher gave no usable answer in 3 tries: 'what a fine clip' is no JSON"):
        endpoint.ask(QUESTION)
    assert len(chat.bodies) == 3
    assert endpoint.ask(QUESTION) == GOOD


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_or_failing_server_is_asked_again_up_to_a_limit(status, endpoint, chat):
    chat.replies = [failing(status), failing(status)]
    assert endpoint.ask(QUESTION) == GOOD
    chat.replies = [failing(status, "too much\nto do")] * 3
    with pytest.raises(BadAnswer, match=rf"answers {status} .*too much to do.*, in 3 tries") as error:
        endpoint.ask(QUESTION._replace(seed=7))
    assert "\n" not in str(error.value)
    assert len(chat.bodies) == 6


def test_the_server_says_how_long_to_wait(endpoint, chat):
    chat.replies = [failing(429, **{"retry-after-ms": "300"})]
    start = time.monotonic()
    assert endpoint.ask(QUESTION) == GOOD
    assert time.monotonic() - start > 0.29


def test_a_slow_server_is_left_after_its_time(endpoint, chat):
    slow = replace(endpoint, timeout=0.1, tries=2)
    chat.replies = [0.5, captioned(), captioned()]
    assert slow.ask(QUESTION) == GOOD, "the second try was in time"
    chat.replies = [0.5, captioned(), 0.5, captioned()]
    with pytest.raises(BadAnswer, match=r"gave no answer within 0\.1 s, in 2 tries"):
        slow.ask(QUESTION._replace(seed=1))


@pytest.mark.parametrize("content", ['{"choices": ', "", "<html>", '{"choices": []}', '{"choices": null}', "[]", "7"])
@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_a_response_that_is_no_completion_is_a_bad_answer(content, kind, endpoint, chat):
    chat.replies = [Response(content, media_type=kind)]
    assert endpoint.ask(QUESTION) == GOOD
    assert len(chat.bodies) == 2


@pytest.mark.parametrize(
    ("message", "name"),
    [("response_format json_schema is not supported", "response_format"), ("extra field: body, seed", "seed")],
)
def test_a_server_that_refuses_a_parameter_is_asked_without_it_from_then_on(message, name, endpoint, chat):
    chat.replies = [failing(400, message)]
    assert endpoint.ask(QUESTION) == GOOD
    assert endpoint.ask(QUESTION._replace(seed=1)) == GOOD
    assert [name in body for body in chat.bodies] == [True, False, False]
    chat.replies = [failing(400, message)]
    with pytest.raises(BadAnswer, match="answers 400"):
        endpoint.ask(QUESTION._replace(seed=2))


def test_a_question_that_a_server_refuses_is_not_repeated(endpoint, chat):
    chat.replies = [failing(400, "too many images")]
    with pytest.raises(BadAnswer, match=r"answers 400 \(too many images\)$"):
        endpoint.ask(QUESTION)
    assert len(chat.bodies) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, f"refuses the key \\(401\\): set {KEY}"), (403, "refuses the key"), (404, "does not have watcher")],
)
def test_what_no_try_can_mend_ends_at_once(status, message, endpoint, chat):
    chat.replies = [failing(status)]
    with pytest.raises(EndpointError, match=message):
        endpoint.ask(QUESTION)
    assert len(chat.bodies) == 1


def test_a_server_that_is_not_there_is_one_line(tmp_path):
    gone = Endpoint("http://127.0.0.1:9", "watcher", tries=1, cache=tmp_path)
    with pytest.raises(EndpointError, match=r"^http://127.0.0.1:9/v1 cannot be reached \(.*refused\): start") as error:
        gone.ask(QUESTION)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_the_key_is_sent_and_shown_nowhere(status, endpoint, chat, monkeypatch, caplog, tmp_path):
    monkeypatch.setenv(KEY, SECRET)
    caplog.set_level(logging.DEBUG)
    endpoint.ask(QUESTION)
    assert chat.headers[0]["authorization"] == f"Bearer {SECRET}"
    chat.replies = [failing(status, f"the key {SECRET} is wrong")] * 3
    with pytest.raises((BadAnswer, EndpointError)) as error:
        endpoint.ask(QUESTION._replace(seed=1))
    shown = [str(error.value), repr(endpoint), str(endpoint.digest(QUESTION)), caplog.text, str(error.getrepr())]
    shown += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [text for text in shown if SECRET in text]


def test_openai_s_key_and_account_go_to_openai_alone(endpoint, chat, monkeypatch):
    monkeypatch.setenv(OPENAI_KEY, SECRET)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-of-mine")
    endpoint.ask(QUESTION)
    assert not re.search("secret|of-mine", json.dumps(chat.headers))
    assert chat.headers[0]["authorization"] == "Bearer none"


def test_a_key_that_cannot_be_one_is_not_repeated(endpoint, chat, monkeypatch):
    monkeypatch.setenv(KEY, "sk-sécret")
    with pytest.raises(BadRequest, match=f"the key in {KEY} has letters") as error:
        endpoint.ask(QUESTION)
    assert "sk-" not in str(error.value)


def test_a_missing_client_is_one_line_with_the_remedy(endpoint, monkeypatch):
    usual = builtins.__import__

    def without(name, *rest, **more):
        if name == "openai":
            raise ImportError(name)
        return usual(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadRequest, match=r'pip install "sorajax\[endpoint\]"'):
        endpoint.ask(QUESTION)


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("https://host/api/openai", "https://host/api/openai"),
    ],
)
def test_a_url_ends_as_the_server_s_does(url, whole):
    assert checked_url(url) == whole


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "qwen", "http://", ""])
def test_other_urls_are_refused_with_an_example(url):
    with pytest.raises(BadRequest, match=r"is not the URL of a server: write e\.g\. http://localhost:8000/v1"):
        checked_url(url)


@pytest.mark.parametrize("url", ["https://me:hush@host/v1", "https://host/v1?key=hush", "https://hush@host"])
def test_a_secret_in_a_url_is_refused_and_not_repeated(url):
    with pytest.raises(BadRequest, match=f"the key in the environment, in {KEY}") as error:
        checked_url(url)
    assert "hush" not in str(error.value)


def test_limits_that_are_no_limits_are_refused():
    for wrong in ({"tries": 0}, {"parallel": 0}, {"timeout": 0.0}):
        with pytest.raises(BadRequest, match="use 1 or more"):
            Endpoint("http://localhost:8000", "watcher", **wrong)
    with pytest.raises(BadRequest, match="needs the name of a model"):
        Endpoint("http://localhost:8000", " ")


@pytest.mark.parametrize(
    "text",
    [
        '{"short": "a ball", "detailed": "A ball."}',
        '```json\n{"short": "a ball", "detailed": "A\\n ball."}\n```',
        '<think>{"short": ...}?</think>{"short": "a ball", "detailed": "A ball.", "more": 1}',
        'Here it is: {"short": "a ball", "detailed": "A ball."} I hope this helps.',
    ],
)
def test_json_is_found_among_other_text(text):
    assert checked_fields(text, QUESTION.fields) == {"short": "a ball", "detailed": "A ball."}


def test_too_many_words_are_no_answer():
    with pytest.raises(UnusableText, match="'short' has 6 words, at most 5 were allowed"):
        checked_fields('{"short": "1 2 3 4 5 6", "detailed": "A ball."}', QUESTION.fields)
