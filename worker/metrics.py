"""What a worker tells of its engine: to Prometheus, and with each renewal to the ledger."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Histogram,
    Metric,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from jobs.errors import ConfigurationError
from worker.engine import Result
from worker.engine.serving import Counting

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
LONG_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)


def facts(engine: Counting) -> dict[str, Any]:
    """Return what a worker tells about itself with each renewal."""
    counts, memory = engine.counts, engine.memory
    told: dict[str, Any] = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "slots": engine.slots,
        "running": engine.running,
        "waiting": engine.waiting,
        "generated_tokens": counts.generated,
    }
    if counts.prompt:
        told["prefix_hit_rate"] = round(counts.cached / counts.prompt, 4)
    if memory:
        told |= {"gpu_memory_bytes": memory.used, "gpu_memory_limit_bytes": memory.total}
    return told


class WorkerMetrics:
    """The metrics of one worker."""

    def __init__(self, engine: Counting) -> None:
        disable_created_metrics()
        self.registry = CollectorRegistry()
        self.registry.register(EngineMetrics(engine))
        self._preprocessing = Histogram(
            "llava_jobs_preprocessing_seconds",
            "Time that preparing the pictures of a job took; next to none where they are cached",
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._answering = Histogram(
            "llava_jobs_answering_seconds",
            "Time from giving a job to the engine to its answer",
            buckets=LONG_BUCKETS_S,
            registry=self.registry,
        )

    def answered(self, result: Result) -> None:
        """Note where the time of an answer went."""
        timing = result.timing
        prepared, rest = timing.preprocess_ms, timing.wait_ms + timing.vision_ms
        self._preprocessing.observe(prepared / 1000)
        self._answering.observe((prepared + rest + timing.generate_ms) / 1000)


class EngineMetrics(Collector):
    """Reads an engine when it is asked: the engine itself knows of no metrics."""

    def __init__(self, engine: Counting) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Give every metric."""
        engine = self._engine
        counts, memory = engine.counts, engine.memory
        yield _gauge("engine_slots", "Requests that the engine answers at once", engine.slots)
        yield _gauge("engine_slots_used", "Requests that it is answering", engine.running)
        age = "Seconds that the engine's current step has taken; 0 while there is nothing to do"
        yield _gauge("engine_step_age_seconds", age, engine.step_age)
        tokens = CounterMetricFamily(
            "llava_jobs_engine_tokens", "Tokens of prompts, and generated", labels=["kind"]
        )
        tokens.add_metric(["prompt"], counts.prompt)
        tokens.add_metric(["generated"], counts.generated)
        yield tokens
        prefix = CounterMetricFamily(
            "llava_jobs_engine_prefix_tokens",
            "Tokens of prompts by whether their keys and values were cached",
            labels=["result"],
        )
        prefix.add_metric(["hit"], counts.cached)
        prefix.add_metric(["miss"], counts.prompt - counts.cached)
        yield prefix
        if memory:
            held = GaugeMetricFamily(
                "llava_jobs_gpu_memory_bytes", "Memory of the worker's GPUs", labels=["kind"]
            )
            held.add_metric(["used"], memory.used)
            held.add_metric(["total"], memory.total)
            yield held


class MetricsServer:
    """Shows metrics on a port of all addresses; raises ConfigurationError where it is taken."""

    def __init__(self, registry: CollectorRegistry, port: int) -> None:
        try:
            self._server, self._thread = start_http_server(port, registry=registry)
        except OSError as error:
            raise ConfigurationError(
                f"LLAVA_JOBS_METRICS_PORT: cannot listen on {port} ({error.strerror}); each worker "
                "of a machine needs one of its own"
            ) from None

    def close(self) -> None:
        """Show them no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"llava_jobs_{name}", meaning, value)
