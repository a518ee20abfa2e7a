"""Metrics for Prometheus: requests are counted as they come, the queue is read when metrics are requested."""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class Queue(Collector):
    """Jobs by status, workers and free space."""

    def __init__(self, counts: Callable[[], dict[str, int]], workers: Callable[[], int], free: Callable[[], int]):
        self.counts, self.workers, self.free = counts, workers, free

    def collect(self) -> Iterator[Any]:
        jobs = GaugeMetricFamily("sorajax_jobs", "Jobs by status", labels=["status"])
        for status, count in self.counts().items():
            jobs.add_metric([status], count)
        yield jobs
        yield GaugeMetricFamily("sorajax_workers", "Workers that were heard of lately", value=self.workers())
        yield GaugeMetricFamily("sorajax_disk_free_bytes", "Free space for videos", value=self.free())

    def describe(self) -> list[Any]:
        """Returns nothing, so that registering the collector does not query the database."""
        return []


class Metrics:
    """The registry of one server."""

    def __init__(self, queue: Queue | None = None):
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("sorajax_requests", "Requests", labels, registry=self.registry)
        self.seconds = Histogram("sorajax_request_seconds", "Time of requests", labels[:2], registry=self.registry)
        if queue is not None:
            self.registry.register(queue)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts a request."""
        method = method if method in ("GET", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS", "PUT") else "other"
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(method, route).observe(seconds)

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
