"""Longer prompts: the prompt as typed is remembered, and what a chat model answers is checked before it is used."""

import json
from types import SimpleNamespace

import pytest

from sorajax.errors import Note, Refused
from sorajax.language.remote_expander import FAMILIES
from sorajax.safety.finishing import Safety
from sorajax.safety.policy import Policy
from sorajax.sampling.wording import expand, remember
from tests.language.chat_server import completion, failing
from tests.language.conftest import chat, endpoint, one_server  # noqa: F401

LONG = "a large red ball bounces on a grey floor"


def prompted(text=LONG):
    return completion(json.dumps({"prompt": text}))


@pytest.fixture
def pipeline():
    """What a pipeline is for these functions: a name, a policy, and the prompts as typed."""
    return SimpleNamespace(name="tiny", safety=Safety(Policy()), prompts=SimpleNamespace(originals={}))


def test_an_expanded_prompt_and_its_first_shot_remember_the_prompt_as_typed(pipeline):
    remember(pipeline, "a red ball bounces. Cut to: a blue ball bounces", "a red ball. Cut to: a blue ball")
    assert pipeline.prompts.originals["a red ball bounces"] == "a red ball. Cut to: a blue ball"
    assert len(pipeline.prompts.originals) == 2
    remember(pipeline, "a blue box", "a blue box")
    assert len(pipeline.prompts.originals) == 2


def test_without_an_endpoint_the_expander_of_the_world_writes(pipeline, monkeypatch):
    monkeypatch.setattr("sorajax.language.expander.open_expander", lambda: lambda prompt, seed: f"{prompt} {seed}")
    assert expand(pipeline, "a red ball", 7) == "a red ball 7"
    assert pipeline.prompts.originals == {"a red ball 7": "a red ball"}


def test_an_endpoints_answer_is_remembered(pipeline, endpoint, chat):  # noqa: F811
    chat.usual = lambda body: prompted()
    assert expand(pipeline, "a red ball", endpoint=endpoint) == LONG
    assert pipeline.prompts.originals[LONG] == "a red ball"


BAD = (
    (completion("I'm sorry, I can't."), "gave no usable answer in 3 tries: \"I'm sorry, I can't.\" is no JSON object"),
    (failing(400, "policy"), "answers 400 (policy)"),
    (prompted("a naked person"), "sexual"),
)


@pytest.mark.parametrize(("reply", "reason"), BAD)
def test_a_bad_answer_leaves_the_prompt_with_a_note(reply, reason, pipeline, endpoint, chat):  # noqa: F811
    chat.usual = lambda body: reply
    with pytest.warns(Note, match="the prompt 'a red ball' stays as it is: ") as notes:
        assert expand(pipeline, "a red ball", endpoint=endpoint) == "a red ball"
    assert reason in str(notes[0].message)


def test_a_refused_prompt_is_not_sent_anywhere(pipeline, endpoint, chat):  # noqa: F811
    with pytest.raises(Refused):
        expand(pipeline, "a naked person", endpoint=endpoint)
    assert not chat.bodies


def test_a_bundled_model_is_asked_for_in_its_own_words(endpoint, chat, pipeline, monkeypatch):  # noqa: F811
    chat.usual = lambda body: prompted()
    monkeypatch.setattr(pipeline, "name", "world-fast")
    expand(pipeline, "a red ball", endpoint=endpoint)
    assert FAMILIES["world"] in chat.bodies[0]["messages"][0]["content"]
