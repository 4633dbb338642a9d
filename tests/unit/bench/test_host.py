"""Host time is that of the batch: nothing is computed, and what was measured before stays."""

import json
from pathlib import Path

from bench.host.idle import idle_batch
from bench.host.measure import HostTime, host_time
from bench.host.report import results


def test_each_step_generates_one_token_for_every_request() -> None:
    with idle_batch(3, prompt=40, answer=8) as batch:
        before = batch.counts
        batch.step()
        batch.step()
        assert batch.counts.prompt == before.prompt == 3 * 40
        assert batch.counts.generated == before.generated + 2 * 3


def test_steps_take_time_of_wall_clock_and_processor() -> None:
    found = host_time(2, steps=5)
    assert found.requests == 2
    assert 0 < found.median_ms <= found.p95_ms
    assert found.cpu_ms > 0


def test_what_other_commits_took_stays_in_the_table(tmp_path: Path) -> None:
    before = {
        "commit": "0ld",
        "date": "2026-11-30",
        "machine": "2 cores",
        "steps": [{"requests": 256, "median_ms": 3.4, "p95_ms": 3.9, "cpu_ms": 3.4}],
    }
    (tmp_path / "host.json").write_text(json.dumps({"runs": [before]}))
    for milliseconds in (2.0, 1.0):
        times = [HostTime(256, milliseconds, milliseconds, milliseconds)]
        paths = results("python -m bench host", times, tmp_path).write(tmp_path)
    runs = json.loads(paths[0].read_text())["runs"]
    assert runs[0] == before
    assert [step["median_ms"] for run in runs[1:] for step in run["steps"]] == [1.0]
    assert "| 0ld | 2026-11-30 | 256 | 3.40 |" in paths[1].read_text()
    assert paths[2].read_text().lstrip().startswith("<?xml")
