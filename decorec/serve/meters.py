"""What the server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["CONTENT_TYPE", "Meters"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Meters:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("decorec_requests", "Requests answered.", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "decorec_request_seconds", "From request to answer.", ["path"], buckets=SECONDS, registry=registry
        )
        self.batch = Histogram(
            "decorec_batch_requests",
            "Requests that one call of the model answered.",
            buckets=[2**power for power in range(9)],
            registry=registry,
        )
        self.scoring = Histogram(
            "decorec_scoring_seconds", "One call of the model.", buckets=SECONDS, registry=registry
        )
        self.waiting = Gauge("decorec_waiting_requests", "Requests that wait for the model.", registry=registry)
        self.reloads = Counter("decorec_reloads", "Attempts to load a new model.", ["outcome"], registry=registry)
        self.items = Gauge("decorec_model_items", "Items that the model knows.", registry=registry)
        self.loaded = Gauge("decorec_model_loaded_timestamp_seconds", "When the model was loaded.", registry=registry)

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self.registry)
