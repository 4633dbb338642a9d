"""What is kept of a measurement has one shape, whatever was found."""

import json
from dataclasses import replace
from pathlib import Path

from bench.ceilings import Ceilings
from bench.measured import Measured
from bench.report import Around, Compared, results, throughput_rows

STAGES = {"queue": 5.0, "preprocess": 2.0, "vision": 3.0, "generate": 80.0, "rest": 10.0}


def measured(name: str, seconds: float, answers: list[str]) -> Measured:
    """A way that took so long."""
    stages = [STAGES] * len(answers) if name == "llava-jobs" else []
    cpu = {"pictures": 0.006, "api": 0.02, "worker": 0.3, "store": 0.01, "client": 0.05}
    return Measured(name, seconds, [0.1, 0.3], answers, stages, cpu if stages else {}, tokens=20)


def compared(limit: float | None, last: list[str]) -> Compared:
    """Two ways that answered two questions."""
    ways = [measured("plain script", 2, ["a", "b"]), measured("llava-jobs", 0.5, last)]
    return Compared("different pictures", "a picture each", limit, ways)


def test_ratio_share_and_equality_are_told() -> None:
    right, wrong = compared(8, ["a", "b"]), compared(None, ["a", "c"])
    assert right.equal
    assert not wrong.equal
    assert throughput_rows([right])[2] == (
        *("", "llava-jobs", "4.00", "", "4.00", "50%", "40", "0.168", "0.67", "200", "290"),
        "2 of 2",
    )
    assert throughput_rows([wrong])[2][-3:] == ("200", "290", "1 of 2")
    assert throughput_rows([wrong])[2][5] == ""


def test_a_way_that_answered_some_is_held_to_those() -> None:
    group = compared(8, ["a"])
    assert group.equal
    assert throughput_rows([group])[2][-1] == "1 of 1"


def test_a_peer_that_rounds_differently_is_counted_by_the_beginning_of_its_answers() -> None:
    group = compared(8, ["a", "b"])
    peer = Measured("vLLM", 1, [0.1, 0.1], ["a", "bc"], tokens=20, alike=1)
    assert group.same(peer) == 2
    assert group.same(replace(peer, alike=2)) == 1
    group.measured.append(replace(peer, alike=2))
    assert group.equal, "its answers are no fault of ours"


def test_of_several_turns_the_median_one_is_told_and_how_they_spread() -> None:
    group = compared(8, ["a", "b"])
    group.measured.extend(measured("llava-jobs", seconds, ["a", "b"]) for seconds in (0.4, 1))
    told = throughput_rows([group])
    assert [row[1:5] for row in told[1:]] == [
        ("plain script", "1.00", "", "1.00"),
        ("llava-jobs", "4.00", "2.00 to 5.00", "4.00"),
    ]
    assert group.equal
    group.measured.append(measured("llava-jobs", 3, ["a", "c"]))
    assert not group.equal, "no turn is let off"


def test_json_markdown_and_plot_are_written(tmp_path: Path) -> None:
    group = compared(8, ["a", "b"])
    engine = Measured("engine alone", 1, [0.1, 0.1], ["a", "b"], cpu={"engine": 0.29})
    around = Around("demo", group.measured[1], engine)
    found = results("python -m bench", Ceilings(1e11, 1e10), [group], [around])
    paths = found.write(tmp_path)
    data = json.loads(paths[0].read_text())
    assert {"machine", "versions", "date", "command", "commit", "ceilings"} <= set(data)
    (workload,) = data["workloads"]
    assert workload["limit_jobs_per_s"] == 8
    first, last = workload["ways"]
    assert first["share_of_limit"] == 1 / 8
    assert last["stages_ms"] == STAGES
    assert last["same_answers"] == 2
    assert abs(data["cpu"][0]["around_engine_ms"] - 20) < 1e-6
    assert paths[1].read_text().count("\n## ") == 3
    assert paths[2].read_text().lstrip().startswith("<?xml")
