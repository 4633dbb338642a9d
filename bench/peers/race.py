"""The race: ours and other engines answer the same questions by turns, all of them ready."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.measured import Measured, Run
from bench.peers.chat import run_chat
from bench.peers.openvino_peer import NAME as OPENVINO
from bench.peers.openvino_peer import openvino
from bench.peers.vllm import NAME as VLLM
from bench.peers.vllm import vllm
from bench.processes import machine_cpu_seconds, share_cores, wait_until_quiet
from bench.shape import SMALL, Shape
from bench.system import CHAT, NAME, ROLES, installation, run_system
from bench.throughput import model_folder
from bench.workload import (
    MIXED_ANSWER_TOKENS,
    WORKLOADS,
    Question,
    Workload,
    different_pictures,
    mixed_lengths,
)

RACED = {
    workload.name.replace(" ", "_"): workload
    for workload in (
        *(one for one in WORKLOADS if one.name in {"different pictures", "one picture"}),
        *(one for one in WORKLOADS if one.name == "long answers"),
        Workload(
            "mixed lengths",
            f"answers of {MIXED_ANSWER_TOKENS[0]} to {MIXED_ANSWER_TOKENS[1]} tokens",
            1.0,
            mixed_lengths,
        ),
    )
}
"""The workloads of a race, by their names on the command line."""
_WARM_TOKENS = 16
_SEEDS_APART = 100


@dataclass(frozen=True)
class Plan:
    """What is raced: workloads by name, rounds of each, questions of a whole workload, how many in
    flight, the seed, and the virtual environments of vLLM and of OpenVINO GenAI, either of which is
    left out where there is none."""

    workloads: Sequence[str]
    rounds: int
    count: int
    in_flight: int
    seed: int
    vllm: Path | None
    openvino: Path | None = None
    shape: Shape = SMALL


@dataclass(frozen=True)
class Turn:
    """One turn of one way; `others` is how many cores all else used meanwhile, callers included."""

    workload: str
    round: int
    found: Measured
    others: float

    @property
    def cores(self) -> float:
        """Cores that the way's own processes used."""
        return self.found.server_cpu / self.found.seconds

    @property
    def cpu_seconds(self) -> float:
        """Processor seconds of the way's own processes for a job."""
        return self.found.server_cpu / len(self.found.answers)


def race(plan: Plan, say: Callable[[str], object]) -> list[Turn]:
    """Run all rounds, the ways in another order each time; `say` is told of each turn.

    Pictures of a round are new, so that nobody has seen them. Ours are asked by two tenants, one
    for each route: what one has had answered helps the other nothing.
    """
    share_cores()
    model = model_folder(plan.shape)
    rounds = [(name, number) for name in plan.workloads for number in range(1, plan.rounds + 1)]
    say("drawing pictures")
    asked = {(name, number): _questions(plan, name, number) for name, number in rounds}
    turns: list[Turn] = []
    with _started(plan, model, say) as ways:
        order = list(ways)
        for name, number in rounds:
            for way in order:
                turn = _turn(ways[way], RACED[name].name, number, asked[name, number], plan)
                turns.append(turn)
                say(_line(turn))
            order.append(order.pop(0))
    return turns


def _questions(plan: Plan, name: str, number: int) -> list[Question]:
    return RACED[name].questions(plan.count, plan.seed + _SEEDS_APART * number)


@contextmanager
def _started(plan: Plan, model: Path, say: Callable[[str], object]) -> Iterator[dict[str, Run]]:
    with ExitStack() as running:
        ways: dict[str, Run] = {}
        if plan.vllm:
            say(f"starting {VLLM}")
            ways[VLLM] = running.enter_context(vllm(model, plan.in_flight, plan.vllm))
        if plan.openvino:
            say(f"starting {OPENVINO}, which converts the checkpoint at its first use")
            ways[OPENVINO] = running.enter_context(openvino(model, plan.in_flight, plan.openvino))
        say(f"starting {NAME}")
        ours = running.enter_context(installation(model, plan.in_flight))
        chat = running.enter_context(ours.chat_client("chat"))
        native = running.enter_context(ours.client("native"))
        ways[CHAT] = partial(run_chat, CHAT, ours.model, chat, ROLES)
        ways[NAME] = partial(run_system, native)
        for way, run in ways.items():
            say(f"warming {way}")
            for answers in (2, _WARM_TOKENS):
                run(_warming(plan, answers), plan.in_flight, lambda: None)
        yield ways


def _warming(plan: Plan, tokens: int) -> list[Question]:
    """Return questions of pictures that no round has, with answers of one length."""
    drawn = different_pictures(plan.in_flight, plan.seed + tokens)
    return [replace(question, max_new_tokens=tokens) for question in drawn]


def _turn(run: Run, workload: str, number: int, questions: Sequence[Question], plan: Plan) -> Turn:
    wait_until_quiet()
    before = machine_cpu_seconds()
    found = run(questions, plan.in_flight, lambda: None)
    others = machine_cpu_seconds() - before - found.server_cpu
    tokens = sum(question.max_new_tokens for question in questions)
    return Turn(workload, number, replace(found, tokens=tokens), max(0.0, others / found.seconds))


def _line(turn: Turn) -> str:
    found = turn.found
    return (
        f"{turn.workload}, round {turn.round}, {found.name}: "
        f"{found.tokens_per_second:,.0f} tokens/s, {found.jobs_per_second:.2f} jobs/s, "
        f"{turn.cpu_seconds:.3f} CPU s a job, {turn.cores:.2f} cores, others {turn.others:.2f}"
    )
