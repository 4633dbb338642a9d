"""vLLM, in a virtual environment of its own, answering through its chat route."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from bench.measured import Run
from bench.peers.chat import ANSWER_TIMEOUT_S, run_chat
from bench.peers.released_names import with_released_names
from bench.processes import server
from llava_jobs.embedded import free_port

NAME = "vLLM"
ROLES = {"vllm": "vllm"}
ALIKE = 40
"""Characters of an answer that are compared: engines round differently, and with random weights
one rounding in hundreds of tokens turns an answer."""
_SERVED = "bench"
_CACHE_GB = 2
_CONTEXT = 2048
"""Tokens; its cache is laid out for them, and no question of the measurements needs more."""


@dataclass(frozen=True)
class OnCpu:
    """vLLM's CPU build, in float32, on all cores of this process."""

    def options(self) -> dict[str, str]:
        """Options of `vllm serve`."""
        return {"dtype": "float32", "max-model-len": str(_CONTEXT)}

    def variables(self) -> dict[str, str]:
        """Variables of its environment."""
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        return {
            "VLLM_CPU_KVCACHE_SPACE": str(_CACHE_GB),
            "VLLM_CPU_OMP_THREADS_BIND": cores,
        }

    def folder(self, model: Path) -> Path:
        """The checkpoint as vLLM reads it."""
        return with_released_names(model)


@dataclass(frozen=True)
class OnGpu:
    """vLLM on a GPU, with random weights, for requests of so many tokens in all."""

    dtype: str
    context: int

    def options(self) -> dict[str, str]:
        """Options of `vllm serve`."""
        room = 512  # prompts are a little longer than reckoned
        return {
            "dtype": self.dtype,
            "max-model-len": str(self.context + room),
            "load-format": "dummy",
        }

    def variables(self) -> dict[str, str]:
        """Variables of its environment."""
        return {}

    def folder(self, model: Path) -> Path:
        """The folder of configuration and processor; there are no weights."""
        return model


@contextmanager
def vllm(
    model: Path, slots: int, environment: Path, device: OnCpu | OnGpu | None = None
) -> Iterator[Run]:
    """Answer through `vllm serve`, on the CPU where no device is given, compiled by its default.

    `environment` is the virtual environment that holds vLLM. Raises RuntimeError with its last
    words where it does not start.
    """
    port = free_port()
    device = device or OnCpu()
    options = {
        "host": "127.0.0.1",
        "port": str(port),
        "max-num-seqs": str(slots),
        "served-model-name": _SERVED,
        "limit-mm-per-prompt": json.dumps({"image": 1}),
        **device.options(),
    }
    command = ["serve", str(device.folder(model))]
    command += [part for name, value in options.items() for part in (f"--{name}", value)]
    with (
        tempfile.TemporaryDirectory(prefix="bench-vllm-") as folder,
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            timeout=ANSWER_TIMEOUT_S,
            limits=httpx.Limits(max_connections=None),
        ) as client,
    ):
        log = Path(folder) / "vllm.log"
        program = [str(environment / "bin" / "vllm")]
        variables = {**_variables(environment), **device.variables()}
        with server(command, variables, log, lambda: _healthy(client), program):
            yield partial(run_chat, NAME, _SERVED, client, ROLES, extra={"ignore_eos": True})


def _variables(environment: Path) -> dict[str, str]:
    return {
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "",  # our packages are none of its business
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }


def _healthy(client: httpx.Client) -> bool:
    try:
        return client.get("/health", timeout=5).is_success
    except httpx.HTTPError:
        return False
