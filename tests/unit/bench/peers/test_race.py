"""A race with real processes: all ways answer the same questions, and are counted apart."""

import os
from pathlib import Path

import pytest

from bench.peers.race import Plan, race
from bench.shape import SMALL, TINY
from bench.system import CHAT, NAME


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_both_routes_of_ours_race_by_turns() -> None:
    lines: list[str] = []
    plan = Plan(("one_picture",), 2, 2, 2, 7, vllm=None, shape=TINY)
    turns = race(plan, lines.append)
    assert [(turn.round, turn.found.name) for turn in turns] == [
        *((1, CHAT), (1, NAME), (2, NAME), (2, CHAT)),
    ]
    assert turns[0].found.answers == turns[1].found.answers
    assert turns[2].found.answers == turns[3].found.answers
    assert turns[0].found.answers != turns[2].found.answers, "each round has other pictures"
    assert all(turn.found.tokens == 2 * 64 for turn in turns)
    assert all(turn.cores > 0 and turn.cpu_seconds > 0 for turn in turns)
    assert sum("tokens/s" in line for line in lines) == len(turns)


@pytest.mark.skipif("BENCH_VLLM" not in os.environ, reason="BENCH_VLLM names none with vLLM")
def test_vllm_races_where_its_environment_is() -> None:
    environment = Path(os.environ["BENCH_VLLM"])
    plan = Plan(("one_picture",), 1, 2, 2, 7, vllm=environment, shape=SMALL)
    first, *ours = race(plan, lambda _: None)
    known = [answer[:40] for answer in first.found.answers]
    assert all([answer[:40] for answer in turn.found.answers] == known for turn in ours)
