"""vLLM on the same device, where it is installed, with weights of its own of the same shape."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from bench.gpu.journal import Record
from bench.gpu.pictures import first
from bench.gpu.plan import DTYPES, Skipped, State
from bench.model import configuration, processor

_CALLERS = 256
_WARM = 16


def measure(state: State) -> Iterator[Record]:
    """Answer the same questions through its chat route; its start is told apart."""
    plan = state.plan
    environment = plan.vllm or (Path(sys.prefix) if find_spec("vllm") else None)
    if environment is None:
        raise Skipped("vLLM is not installed, and no --vllm was given")
    state.needs_cuda()
    state.release()
    from bench.peers.vllm import OnGpu, vllm

    with tempfile.TemporaryDirectory(prefix="bench-gpu-vllm-") as folder:
        processor(plan.shape).save_pretrained(folder)
        configuration(plan.shape).save_pretrained(folder)
        settings = OnGpu(str(DTYPES[plan.dtype]).removeprefix("torch."), plan.prompt + plan.tokens)
        with vllm(Path(folder), plan.slots, environment, settings) as answers:
            yield {"started": True}
            for name, questions in state.questions.items():
                asked = [
                    replace(question, max_new_tokens=plan.tokens)
                    for question in first(questions, plan.count)
                ]
                answers(asked[:_WARM], _WARM, lambda: None)
                found = answers(asked, min(_CALLERS, plan.slots), lambda: None)
                yield {
                    "workload": name,
                    "jobs": len(asked),
                    "seconds": found.seconds,
                    "jobs_per_s": found.jobs_per_second,
                    "tokens_per_s": found.jobs_per_second * plan.tokens,
                    "cpu_s_per_job": found.server_cpu / len(asked),
                }
