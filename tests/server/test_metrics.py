"""What Prometheus reads of a server."""

from sorajax.server.metrics import Metrics, Queue


def test_requests_are_counted_by_route_and_the_queue_is_asked_at_each_look():
    counts = {"queued": 3}
    metrics = Metrics(Queue(lambda: counts, lambda: 2, lambda: 10**9))
    metrics.observe("GET", "/v1/videos", 200, 0.5)
    metrics.observe("BREW", "/v1/videos", 418, 0.5)  # a method of the client's own does not become a label
    page = metrics.page().decode()
    assert 'sorajax_requests_total{method="GET",route="/v1/videos",status="200"} 1.0' in page
    assert 'sorajax_requests_total{method="other",route="/v1/videos",status="418"} 1.0' in page
    assert 'sorajax_jobs{status="queued"} 3.0' in page
    assert "sorajax_workers 2.0" in page
    counts["queued"] = 4
    assert 'sorajax_jobs{status="queued"} 4.0' in metrics.page().decode()
