"""The benchmark's clients: those that poll are others than the one that is timed."""

from sorajax.server import benchmark


def test_creating_is_timed_while_others_poll(server, monkeypatch):
    monkeypatch.setattr(benchmark, "CREATED", 5)
    monkeypatch.setattr(benchmark, "POLLERS", 4)
    polls = []
    get = server.service.jobs.get
    monkeypatch.setattr(server.service.jobs, "get", lambda name, owner: polls.append(name) or get(name, owner))
    found = benchmark.latencies(server.address)
    assert 0 < found["p50"] <= found["p99"]
    assert polls.count(max(set(polls), key=polls.count)) >= 2 * 4, "each has been answered twice before the first"
    assert server.service.jobs.unfinished("local") == 0, "nothing is left in the queue"
