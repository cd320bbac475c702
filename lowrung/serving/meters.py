"""What a monitor reads of the service, in Prometheus' form."""

from __future__ import annotations

from typing import Any

from lowrung.core.errors import LowrungError

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SHARES = tuple(each / 10 for each in range(1, 11))


class Meters:
    """Counters and histograms of one service, in a registry of its own.

    Raises:
        LowrungError: prometheus-client is not installed.
    """

    def __init__(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError as problem:
            raise LowrungError("the service needs its extra: pip install 'lowrung[serve]'") from problem
        self.registry = CollectorRegistry()
        common: dict[str, Any] = {"namespace": "lowrung", "registry": self.registry}
        named = ("model",)
        self.requests = Counter("requests", "Requests by path and status", ("path", "status"), **common)
        self.seconds = Histogram("request_seconds", "How long requests took", ("path",), buckets=SECONDS, **common)
        self.refused = Counter("refused", "Requests that were told to come back later", named, **common)
        self.waiting = Gauge("queue_questions", "Questions that wait", named, **common)
        self.waited = Histogram("queue_seconds", "How long they waited", named, buckets=SECONDS, **common)
        self.batch = Histogram("batch_questions", "Questions answered together", named, buckets=SIZES, **common)
        self.batch_seconds = Histogram("batch_seconds", "How long a batch took", named, buckets=SECONDS, **common)
        self.tokens = Counter("tokens", "Tokens read, about", named, **common)
        self.confidence = Histogram("confidence", "Confidence of answers", named, buckets=SHARES, **common)
        self.unanswered = Counter("unanswered", "Questions without an answer", named, **common)
        self.corrections = Counter("corrections", "Corrections that were stored", named, **common)
        self.streams = Gauge("streams", "Streams of sound that are being heard", **common)
        self.loaded = Gauge("model_loaded_seconds", "When the version that answers was loaded", named, **common)
        self.drift = Gauge("drift", "1 where a kind of drift is alarming", ("model", "kind"), **common)

    def text(self) -> tuple[bytes, str]:
        """(what is told, its media type)"""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST
