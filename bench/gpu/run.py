"""The run: parts in order, each on its own; what one meets keeps no other from its turn."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.gpu import breakdown, forced, kernels, machine, models, small, totals, vllm
from bench.gpu.journal import Journal, Record
from bench.gpu.plan import Skipped, State


@dataclass(frozen=True)
class Part:
    """A part by its name, the seconds that it is reckoned with on a GPU, and what it does."""

    name: str
    seconds: float
    measure: Callable[[State], Iterator[Record]]


PARTS = (
    Part("machine", 1, machine.versions),
    Part("kernels load", 20, kernels.loaded),
    Part("kernels", 15, kernels.against_references),
    Part("kernel times", 10, kernels.times),
    Part("ceilings", 5, machine.ceilings),
    Part("small model", 25, small.measure),
    Part("build", 15, models.build),
    Part("breakdown", 40, breakdown.measure),
    Part("totals", 60, totals.measure),
    Part("teacher forcing", 30, forced.measure),
    Part("change: step x 2", 35, totals.with_step(2)),
    Part("change: slots x 3/4", 35, totals.with_slots(0.75)),
    Part("fp8 build", 20, models.build_fp8),
    Part("fp8 breakdown", 40, breakdown.measure),
    Part("fp8 totals", 60, totals.measure),
    Part("vllm", 120, vllm.measure),
)


def run(state: State, journal: Journal, parts: Sequence[Part] = PARTS) -> None:
    """Run parts in order until the time is up, and write what each finds at once."""
    try:
        for part in parts:
            left = state.plan.seconds - journal.seconds
            if left < part.seconds:
                journal.write(part.name, skipped=f"{left:.0f} s are left of {part.seconds:g}")
            else:
                _run(part, state, journal)
    finally:
        state.release()


def _run(part: Part, state: State, journal: Journal) -> None:
    began = journal.seconds
    try:
        for record in part.measure(state):
            journal.write(part.name, **record)
    except Skipped as reason:
        journal.write(part.name, skipped=str(reason))
    except Exception as error:  # noqa: BLE001 - whatever it is, the next part has its turn
        lines = traceback.format_exc().splitlines()[-12:]
        journal.write(part.name, failed=f"{type(error).__name__}: {error}", trace=lines)
    else:
        journal.write(part.name, done=True, seconds=round(journal.seconds - began, 2))
