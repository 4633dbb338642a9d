"""What a worker tells of its engine is what the engine did."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest

from jobs.errors import ConfigurationError
from jobs.settings import Settings
from tests.eventually import PATIENCE_S
from tests.installations import free_port
from tests.unit.api.pictures import encoded, scene
from worker.engine import Counts, Engine, Memory, Picture, Request, Turn
from worker.loading import load_engine
from worker.metrics import MetricsServer, WorkerMetrics, facts

PICTURE = Picture(encoded(scene(), "PNG"))


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """The demo model's engine."""
    loaded = load_engine(Settings(slots=2))
    yield loaded
    loaded.close()


def asked(question: str) -> Request:
    """A question about a picture that is the same each time."""
    return Request((Turn("user", (PICTURE, question)),), scope="acme", max_new_tokens=8)


def value(metrics: WorkerMetrics, name: str, **labels: str) -> float:
    """One sample."""
    found = metrics.registry.get_sample_value(f"llava_jobs_{name}", labels)
    assert found is not None, name
    return found


def test_tokens_are_counted_as_answers_report_them(engine: Engine) -> None:
    metrics = WorkerMetrics(engine)
    before = {
        kind: value(metrics, "engine_tokens_total", kind=kind) for kind in ("prompt", "generated")
    }
    hits = value(metrics, "engine_prefix_tokens_total", result="hit")
    results = [engine.submit(asked("What is the error code?")).result(PATIENCE_S) for _ in range(2)]
    for result in results:
        metrics.answered(result)
    generated = value(metrics, "engine_tokens_total", kind="generated") - before["generated"]
    prompts = value(metrics, "engine_tokens_total", kind="prompt") - before["prompt"]
    assert generated == sum(result.completion_tokens for result in results)
    assert prompts == sum(result.prompt_tokens for result in results)
    cached = sum(result.cached_tokens for result in results)
    assert cached > 0
    assert value(metrics, "engine_prefix_tokens_total", result="hit") - hits == cached
    assert value(metrics, "preprocessing_seconds_count") == 2
    assert value(metrics, "answering_seconds_sum") > 0


def test_tokens_of_what_runs_are_counted_too(engine: Engine) -> None:
    seen: list[int] = []
    before = engine.counts.generated
    answer = engine.submit(asked("What is it?"), lambda _: seen.append(engine.counts.generated))
    result = answer.result(PATIENCE_S)
    assert seen
    assert before < seen[0] <= before + result.completion_tokens
    assert seen == sorted(seen), "a counter never goes back"


@dataclass
class Busy:
    """An engine on a GPU in the middle of a step."""

    slots: int = 8
    running: int = 3
    waiting: int = 1
    step_age: float = 2.5
    counts: Counts = Counts(prompt=100, cached=25, generated=7)  # noqa: RUF009 - frozen
    memory: Memory | None = Memory(used=5, total=9)  # noqa: RUF009 - frozen


def test_slots_step_and_memory_are_told() -> None:
    metrics = WorkerMetrics(Busy())
    assert value(metrics, "engine_slots") == 8
    assert value(metrics, "engine_slots_used") == 3
    assert value(metrics, "engine_step_age_seconds") == 2.5
    assert value(metrics, "engine_prefix_tokens_total", result="miss") == 75
    assert value(metrics, "gpu_memory_bytes", kind="used") == 5
    assert value(metrics, "gpu_memory_bytes", kind="total") == 9


def test_without_a_gpu_no_memory_is_told() -> None:
    assert b"gpu_memory" not in generate_latest(WorkerMetrics(Busy(memory=None)).registry)


def test_the_ledger_is_told_the_same() -> None:
    told = facts(Busy())
    assert (told["slots"], told["running"], told["waiting"]) == (8, 3, 1)
    assert (told["prefix_hit_rate"], told["generated_tokens"]) == (0.25, 7)
    assert (told["gpu_memory_bytes"], told["gpu_memory_limit_bytes"]) == (5, 9)
    idle = facts(Busy(counts=Counts(), memory=None))
    assert not {"prefix_hit_rate", "gpu_memory_bytes"} & set(idle), "nothing is made up"


def test_metrics_are_shown_on_a_port_and_a_second_worker_needs_another() -> None:
    port, registry = free_port(), WorkerMetrics(Busy()).registry
    server = MetricsServer(registry, port)
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert re.search(r"^llava_jobs_engine_slots 8\.0$", text, re.MULTILINE)
        with pytest.raises(ConfigurationError, match=rf"METRICS_PORT: cannot listen on {port}"):
            MetricsServer(registry, port)
    finally:
        server.close()


def test_the_engine_knows_nothing_of_prometheus() -> None:
    folder = Path(__file__).parents[3] / "worker" / "engine"
    assert not [p.name for p in folder.glob("*.py") if "prometheus" in p.read_text().lower()]
