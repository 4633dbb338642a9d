"""A race is told by medians, spreads and ratios of turns that met the same questions."""

import json
from collections.abc import Sequence
from pathlib import Path

from bench.measured import Measured
from bench.peers.race import Plan, Turn
from bench.peers.report import results, rows


def turn(way: str, number: int, seconds: float, answers: Sequence[str]) -> Turn:
    """A turn of two answers, 100 tokens together, on one core."""
    cpu = {"client": 0.5, "worker": seconds}
    found = Measured(way, seconds, [0.1, 0.2], list(answers), cpu=cpu, tokens=100)
    return Turn("one picture", number, found, others=0.25)


SAME = ("a" * 50, "b" * 50)
LATER = ("a" * 45 + "c", "b" * 50)
SOONER = ("c" + "a" * 49, "b" * 50)
TURNS = [
    turn("vLLM", 1, 1.0, SAME),
    turn("llava-jobs", 1, 0.5, LATER),
    turn("llava-jobs", 2, 2.0, SOONER),
    turn("vLLM", 2, 4.0, SAME),
    turn("vLLM", 3, 2.0, SAME),
    turn("llava-jobs", 3, 0.4, SAME),
]


def test_ways_are_compared_round_by_round() -> None:
    first, ours = rows(TURNS)
    assert first.ratios == [1, 1, 1]
    assert ours.ratios == [2, 2, 5]
    assert ours.rates == [50, 200, 250]
    assert ours.cells()[:6] == (
        *("one picture", "llava-jobs", "200", "50 to 250", "2.00", "2.00 to 5.00"),
    )
    assert ours.cells()[7:10] == ("0.250", "1.00", "0.25"), "the callers are not among them"


def test_answers_are_held_to_the_first_ways_by_their_first_characters_and_whole() -> None:
    _, ours = rows(TURNS)
    assert ours.alike(40) == 5
    assert ours.alike() == 4


def test_the_report_says_what_was_left_out(tmp_path: Path) -> None:
    plan = Plan(("one_picture",), 3, 2, 2, 7, vllm=None)
    paths = results("python -m bench peers", plan, TURNS).write(tmp_path)
    data = json.loads(paths[0].read_text())
    assert [len(row["rounds"]) for row in data["rows"]] == [3, 3]
    told = paths[1].read_text()
    assert "vLLM is left out" in told
    assert "OpenVINO GenAI is left out" in told
    assert paths[2].read_text().lstrip().startswith("<?xml")
