"""A run leaves what it found, whatever becomes of its parts, and runs small on a CPU."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.__main__ import main
from bench.gpu.journal import Journal, Record, read
from bench.gpu.plan import Plan, Skipped, State
from bench.gpu.run import PARTS, Part, run
from bench.shape import TINY

SMALL = "--shape tiny --device cpu --dtype float32 --count 3 --tokens 6 --slots 2 --prompt 40"
NOWHERE_ELSE = ("structlog", "flask", "redis", "celery", "httpx", "psutil", "matplotlib", "kombu")
"""Packages that a machine with a GPU may well not have, and that measuring it does without."""


@pytest.fixture
def state() -> State:
    plan = Plan(TINY, "cpu", "float32", 1, 4, 2, 40, (1,), 1, seconds=50, seed=1)
    return State(plan, {})


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "gpu.jsonl", lambda _: None)
    yield journal
    journal.close()


def found(_: State) -> Iterator[Record]:
    """A part with one result."""
    yield {"found": 1}


def broken(_: State) -> Iterator[Record]:
    """A part that fails after its first result."""
    yield {"found": 2}
    raise RuntimeError("no such kernel")


def elsewhere(_: State) -> Iterator[Record]:
    """A part that needs what is not here."""
    raise Skipped("needs CUDA")
    yield


def test_each_result_is_on_disk_before_the_next_is_measured(
    state: State, journal: Journal, tmp_path: Path
) -> None:
    seen: list[int] = []

    def two(_: State) -> Iterator[Record]:
        yield {"found": 1}
        seen.append(len(read(tmp_path / "gpu.jsonl")))
        yield {"found": 2}

    run(state, journal, [Part("two", 1, two)])
    assert seen == [1]


def test_what_one_part_meets_keeps_no_other_from_its_turn(
    state: State, journal: Journal, tmp_path: Path
) -> None:
    parts = [Part("a", 1, broken), Part("b", 1, elsewhere), Part("c", 60, found)]
    run(state, journal, [*parts, Part("d", 1, found)])
    records = read(tmp_path / "gpu.jsonl")
    assert [record["part"] for record in records] == ["a", "a", "b", "c", "d", "d"]
    assert records[1]["failed"] == "RuntimeError: no such kernel"
    assert "broken" in "".join(records[1]["trace"])
    assert records[2]["skipped"] == "needs CUDA"
    assert records[3]["skipped"] == "50 s are left of 60"
    assert records[5]["done"]


def test_a_journal_that_broke_off_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "gpu.jsonl"
    path.write_text('{"part": "a"}\n{"part": "b", "fou')
    assert read(path) == [{"part": "a"}]


def test_all_of_it_runs_small_on_a_cpu(tmp_path: Path) -> None:
    sizes = ["--batches", "1,2", "--checked", "2", "--folder", str(tmp_path)]
    result = CliRunner().invoke(main, ["gpu", *SMALL.split(), *sizes])
    assert result.exit_code == 0, result.output
    records = json.loads((tmp_path / "gpu.json").read_text())["records"]
    assert not [record for record in records if "failed" in record]
    of = {part.name: [r for r in records if r["part"] == part.name] for part in PARTS}
    done = {name for name, told in of.items() if told[-1].get("done")}
    assert {name for name in of if "fp8" in name or name == "vllm"} == set(of) - done

    assert [record["right"] for record in of["kernels"][:-1]] == [True] * 6
    timed = {record["kernel"] for record in of["kernel times"][:-1]}
    assert {"norm", "gated", "rotate and store"} < timed

    answers, draws, graphs, _ = of["small model"]
    assert answers["equal"] == answers["answers"] == 3
    assert draws["drawn_repeats"]
    assert draws["greedy_beside_it"] == draws["of"]
    assert graphs["skipped"] == "needs CUDA"
    steps = [(r["step"], r["requests"]) for r in of["breakdown"] if "wall_ms" in r]
    assert steps == [("read", 2), ("generate", 1), ("generate", 2)]
    assert all(r["top"] and r["kernels_ms"] > 0 for r in of["breakdown"] if "top" in r)
    totals = of["totals"][:-1]
    assert [record["workload"] for record in totals] == ["different pictures", "one picture"]
    assert all(record["jobs"] == 3 and record["share_of_limit"] > 0 for record in totals)
    forced = of["teacher forcing"][0]
    assert forced["answers"] == 2
    assert forced["near"] == 1
    assert of["change: slots x 3/4"][0]["changes"] == {"slots": 1}
    assert "| totals | different pictures | float32 |" in (tmp_path / "gpu.md").read_text()


def test_measuring_needs_nothing_that_a_machine_with_a_gpu_may_not_have() -> None:
    code = (
        "import sys\n"
        f"for name in {NOWHERE_ELSE!r}: sys.modules[name] = None\n"
        "import bench.__main__, bench.gpu.run, bench.gpu.pictures\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
