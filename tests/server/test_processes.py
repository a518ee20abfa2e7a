"""The processes of a server: a folder is served once, other machines need keys, the model is opened as asked."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from sorajax.commands.serve import main, parse
from sorajax.models.conditioning import Replacement
from sorajax.models.folder import export_model
from sorajax.sampling.request import Request
from sorajax.server.options import ServeOptions
from sorajax.server.processes import listen, open_model
from tests.conftest import TINY, tiny_tokenizer
from tests.server.conftest import running
from tests.weights import init

WAN = replace(TINY, conditioning=Replacement(), clean_prompts=True, guidance_scale=5.0, steps=50)
"""A tiny model that is sampled as Wan 2.1 is."""


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape), jax.eval_shape(partial(init, WAN), jax.random.key(0)))
    return export_model(tmp_path_factory.mktemp("wan"), params, WAN, tiny_tokenizer())


@pytest.mark.parametrize(("preset", "steps", "guided"), [("lightning", 4, False), ("none", 50, True)])
def test_the_worker_samples_with_the_preset(wan, preset, steps, guided):
    pipeline = open_model(parse(["--model", str(wan), "--preset", preset]))
    settings = pipeline.plan(Request(("a red ball",)))
    assert (settings.steps, settings.guided) == (steps, guided)


def test_listening_beyond_localhost_needs_keys(tmp_path, capfd):
    assert main(["--host", "0.0.0.0", "--port", "0", "--data", str(tmp_path)]) == 2
    assert "serve keys add" in capfd.readouterr().err


def test_a_folder_is_served_once(tmp_path, capfd):
    with running(parse(["--data", str(tmp_path)])):
        import fcntl

        with open(tmp_path / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert main(["--data", str(tmp_path), "--port", "0"]) == 2
    assert "another process" in capfd.readouterr().err


@pytest.mark.parametrize("trusted", [(), ("127.0.0.1",), ("192.0.2.1",)])
def test_only_a_named_proxy_is_believed(tmp_path, monkeypatch, trusted):
    seen = []
    monkeypatch.setattr("sorajax.server.guard.log", lambda event, **values: seen.append(values["client"]))
    with running(ServeOptions(data=tmp_path, trust_proxy=trusted)) as one:
        one.http.get("/v1/videos", headers={"X-Forwarded-For": "203.0.113.9"})
    assert seen[-1] == ("203.0.113.9" if trusted == ("127.0.0.1",) else "127.0.0.1")


def test_an_address_that_is_taken_is_named():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match=rf"127.0.0.1:{port} cannot be listened on .*: choose another --port"):
            listen("127.0.0.1", port)
