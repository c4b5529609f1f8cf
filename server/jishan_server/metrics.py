"""What Prometheus may scrape at /metrics. Each app has its own registry, so that two in one process stay apart."""

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


@dataclass(frozen=True, slots=True)
class Metrics:
    """The registry and the figures of the web side; other parts add theirs to `registry`."""

    registry: CollectorRegistry
    requests: Counter
    request_seconds: Histogram
    refusals: Counter


def make_metrics(writer_queue: Callable[[], float] | None = None) -> Metrics:
    """Fresh figures; `writer_queue` is asked for the writer's queue length at each scrape."""
    registry = CollectorRegistry()
    if writer_queue is not None:
        Gauge("jishan_writer_queue_operations", "Operations waiting for the writer", registry=registry).set_function(
            writer_queue
        )
    return Metrics(
        registry,
        Counter("jishan_http_requests", "Requests by route and status", ["route", "status"], registry=registry),
        Histogram("jishan_http_request_seconds", "Time to answer", ["route"], registry=registry),
        Counter("jishan_refusals", "Refusals by stable code", ["code"], registry=registry),
    )
