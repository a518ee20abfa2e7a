"""Polling clients ask at their own pace, and say when each has been answered."""

import asyncio
from functools import partial

import httpx
import pytest

from sorajax.server import polling


def test_it_says_when_each_client_has_been_answered_and_goes_on(monkeypatch, capsys):
    asked = []

    def answer(request):
        asked.append((str(request.url), capsys.readouterr().out))
        if len(asked) > 30:
            raise httpx.ConnectError("the server has ended")
        return httpx.Response(200)

    monkeypatch.setattr(polling.httpx, "AsyncClient", partial(httpx.AsyncClient, transport=httpx.MockTransport(answer)))
    monkeypatch.setattr(polling, "PAUSE", 0.01)
    with pytest.raises(httpx.ConnectError):
        asyncio.run(polling.poll("http://server", "video_1", 3))
    assert {url for url, _ in asked} == {"http://server/v1/videos/video_1"}
    said = [out for _, out in asked]
    assert "".join(said) == "polling\n"
    assert 2 * 3 <= said.index("polling\n") < 30
