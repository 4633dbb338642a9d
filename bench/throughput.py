"""The throughput measurement: every way answers the same workloads, one way after another."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

from tqdm import tqdm
from transformers.utils import logging

from bench import celery_plain, litserve_peer, plain, static, system
from bench.ceilings import Ceilings, measure
from bench.cost import Limit
from bench.engine_alone import engine_alone
from bench.measured import Measured, Run
from bench.model import write_model
from bench.peers import vllm as vllm_peer
from bench.processes import share_cores
from bench.report import Around, Compared
from bench.shape import SMALL, Shape
from bench.workload import (
    ONE_AT_A_TIME,
    WORKLOADS,
    Question,
    Workload,
    arriving,
    different_pictures,
)
from demo.model import WEIGHTS

SATURATION = 10
"""Questions that arrive at random do so at so many times the rate of the plain script."""
DEMO_TOKENS = 32
DEMO_TIMES = 4
"""As many times more questions for the demo model, which answers them that much sooner."""


@dataclass(frozen=True)
class Plan:
    """How much is asked: questions of a whole workload, how many in flight, the seed, how many
    turns each way has that answers many at once, and by what the answers' lengths are divided;
    `whole` adds the demo model and the processor time around the engine."""

    count: int
    in_flight: int
    seed: int
    turns: int = 1
    shorter: int = 1
    workloads: Sequence[Workload] = WORKLOADS
    whole: bool = True
    shape: Shape = SMALL
    vllm: Path | None = None

    @property
    def ways(self) -> Sequence[Way]:
        """The ways that are compared; vLLM where its virtual environment is given."""
        if self.vllm is None:
            return WAYS
        start = partial(vllm_peer.vllm, environment=self.vllm)
        return (*WAYS[:-2], Way(vllm_peer.NAME, start, alike=vllm_peer.ALIKE), *WAYS[-2:])


@dataclass(frozen=True)
class Way:
    """A way of answering, many questions `at_once` or one after another; `share` of the questions,
    where all would take too long; `alike` as in Measured."""

    name: str
    start: Callable[[Path, int], AbstractContextManager[Run]]
    at_once: bool = True
    share: float = 1.0
    alike: int | None = None


WAYS = (
    Way(plain.NAME, lambda model, _: plain.plain(model), at_once=False),
    Way(
        celery_plain.NAME,
        lambda model, _: celery_plain.celery_plain(model),
        at_once=False,
        share=0.25,
    ),
    Way(static.NAME, lambda model, _: static.static(model)),
    Way(litserve_peer.NAME, litserve_peer.litserve),
    Way(system.CHAT, system.system_chat),
    Way(system.NAME, system.system),
)


@dataclass
class _Asked:
    """A workload's questions and what has been measured with them."""

    workload: Workload
    questions: list[Question]
    compared: Compared


def measure_all(plan: Plan) -> tuple[Ceilings, list[Compared], list[Around]]:
    """Measure everything; progress is shown on standard error."""
    share_cores()
    logging.disable_progress_bar()  # of transformers: it would break into ours
    model = model_folder(plan.shape)
    ceilings = measure()
    limit = Limit(model, ceilings)
    drawing = tqdm(plan.workloads, "drawing pictures", leave=False)
    asked = [_ask(workload, plan, limit) for workload in drawing]
    single = _ask(ONE_AT_A_TIME, plan, limit, in_flight=1)
    for turn in range(plan.turns):
        for way in plan.ways:
            if turn and not way.at_once:
                continue
            with _warm(way, model, plan) as run:
                for one in asked:
                    _measure(way, run, one, plan)
                if way.name in (plain.NAME, system.NAME):
                    found = _with_bar(way, run, single.questions, 1)
                    single.compared.measured.append(found)
    compared = [one.compared for one in (*asked, single)]
    if not plan.whole:
        return ceilings, compared, []
    demo, questions = _demo(plan)
    return ceilings, [*compared, demo], [_around(questions, plan)]


def model_folder(shape: Shape) -> Path:
    """Return the folder of a shape's checkpoint, which is written at its first use."""
    digest = hashlib.sha256(repr(shape).encode()).hexdigest()[:8]
    return write_model(Path(tempfile.gettempdir()) / "llava-jobs-bench" / f"model-{digest}", shape)


def _ask(workload: Workload, plan: Plan, limit: Limit, in_flight: int | None = None) -> _Asked:
    questions = [
        replace(question, max_new_tokens=max(1, question.max_new_tokens // plan.shorter))
        for question in workload.questions(plan.count, plan.seed)
    ]
    most = limit.jobs_per_second(questions, in_flight or plan.in_flight)
    return _Asked(workload, questions, Compared(workload.name, workload.description, most))


@contextmanager
def _warm(way: Way, model: Path, plan: Plan) -> Iterator[Run]:
    """Start a way and ask about other pictures first, so that nothing is paid for once later."""
    questions = different_pictures(plan.in_flight if way.at_once else 2, plan.seed + 4)
    with way.start(model, plan.in_flight) as run:
        _with_bar(
            way,
            run,
            [replace(question, max_new_tokens=2) for question in questions],
            plan.in_flight,
            "warm-up",
        )
        yield run


def _measure(way: Way, run: Run, asked: _Asked, plan: Plan) -> None:
    measured = asked.compared.measured
    if asked.workload.arriving and not measured:
        # The first way answers one after another, so a first look at a few gives its rate.
        rate = SATURATION * run(asked.questions[:4], 1, lambda: None).jobs_per_second
        asked.questions = arriving(asked.questions, rate, plan.seed)
    some = asked.questions[: max(2, round(way.share * len(asked.questions)))]
    measured.append(_with_bar(way, run, some, plan.in_flight, asked.workload.name))


def _with_bar(
    way: Way, run: Run, questions: Sequence[Question], in_flight: int, doing: str = ""
) -> Measured:
    name = f"{way.name}, {doing}"
    with tqdm(total=len(questions), desc=name, unit="job", leave=False) as bar:
        found = run(questions, in_flight, bar.update)
    tokens = sum(question.max_new_tokens for question in questions)
    return replace(found, tokens=tokens, alike=way.alike)


def _demo(plan: Plan) -> tuple[Compared, list[Question]]:
    """Measure the demo model, too small for batching to win much: what is around it shows."""
    workload = replace(WORKLOADS[0], name="demo model")
    questions = [
        replace(question, max_new_tokens=DEMO_TOKENS)
        for question in workload.questions(DEMO_TIMES * plan.count, plan.seed + 3)
    ]
    compared = Compared(workload.name, "the bundled model, different pictures", None)
    for way in (way for way in WAYS if way.name not in {celery_plain.NAME, system.CHAT}):
        with _warm(way, WEIGHTS, plan) as run:
            found = _with_bar(way, run, questions, plan.in_flight, "demo model")
            compared.measured.append(found)
    return compared, questions


def _around(questions: Sequence[Question], plan: Plan) -> Around:
    """Measure what is around the engine, which has one thread: more would spin for each other."""
    (way,) = (way for way in WAYS if way.name == system.NAME)
    with patch.dict(os.environ, OMP_NUM_THREADS="1"):
        with _warm(way, WEIGHTS, plan) as run:
            whole = _with_bar(way, run, questions, plan.in_flight, "what is around the engine")
        alone = engine_alone(WEIGHTS, questions, plan.in_flight)
    return Around("demo model", whole, alone)
