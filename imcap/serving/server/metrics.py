"""Prometheus metrics: requests, batches, and which versions are served."""

from __future__ import annotations

from collections.abc import Iterable

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from imcap.serving.server.batching import Batch

PATH = "/monitoring/prometheus/metrics"  # TensorFlow Serving's.
CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of a server; all methods are called by its event loop."""

    def __init__(self) -> None:
        """Sets all to zero."""
        self._registry = CollectorRegistry()
        names = ("model", "method")
        labels = (*names, "code")
        self._requests = self._counter("imcap_requests", "Requests answered.", labels)
        self._images = self._counter("imcap_images", "Instances that were in a batch.")
        self._seconds = self._histogram(
            "imcap_request_seconds", "From a request's head to its reply.", _SECONDS, names
        )
        self._batch_sizes = self._histogram("imcap_batch_size", "Instances of a batch.", _SIZES)
        self._batch_seconds = self._histogram(
            "imcap_batch_seconds", "What the model took for a batch.", _SECONDS
        )
        self._waited = self._histogram(
            "imcap_batch_wait_seconds", "How long a batch's first instance had waited.", _SECONDS
        )
        self._waiting = self._gauge("imcap_requests_waiting", "Requests that wait for a model.")
        self._held = self._gauge("imcap_body_bytes", "Bytes of the bodies in memory.")
        self._versions = self._gauge(
            "imcap_model_version", "1 for each version of a model.", ("model", "version", "state")
        )

    def observe_request(self, model: str, method: str, code: int, seconds: float) -> None:
        """Counts a request that was answered with a status."""
        self._requests.labels(model, method, str(code)).inc()
        self._seconds.labels(model, method).observe(seconds)

    def observe_batch(self, batch: Batch) -> None:
        """Counts a batch."""
        self._images.inc(batch.size)
        self._batch_sizes.observe(batch.size)
        self._batch_seconds.observe(batch.seconds)
        self._waited.observe(batch.waited)

    def render(self, *, waiting: int, held: int, versions: Iterable[tuple[str, int, str]]) -> bytes:
        """Returns all metrics in Prometheus' text format.

        Args:
          waiting: requests that wait.
          held: bytes of bodies.
          versions: model, version and state of each.
        """
        self._waiting.set(waiting)
        self._held.set(held)
        self._versions.clear()
        for name, version, state in versions:
            self._versions.labels(name, str(version), state).set(1)
        return prometheus_client.generate_latest(self._registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
    ) -> Histogram:
        return Histogram(name, text, labels, registry=self._registry, buckets=buckets)
