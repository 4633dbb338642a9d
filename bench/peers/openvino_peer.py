"""OpenVINO GenAI, in a virtual environment of its own, behind a small chat route of ours."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx

from bench.measured import Run
from bench.peers.chat import ANSWER_TIMEOUT_S, run_chat
from bench.peers.released_names import with_released_names
from bench.processes import server
from llava_jobs.embedded import free_port

NAME = "OpenVINO GenAI"
ROLES = {"openvino": "openvino_serving"}
_SERVING = Path(__file__).with_name("openvino_serving.py")
_CONVERTED = "openvino_language_model.xml"


@contextmanager
def openvino(model: Path, slots: int, environment: Path) -> Iterator[Run]:
    """Answer through its continuous batching in float32, whose model is converted at the first use.

    `environment` is the virtual environment that holds openvino-genai and optimum-intel. Raises
    RuntimeError with its last words where it does not start.
    """
    folder, port = converted(model, environment), free_port()
    program = [str(environment / "bin" / "python"), str(_SERVING)]
    with (
        tempfile.TemporaryDirectory(prefix="bench-openvino-") as logs,
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            timeout=ANSWER_TIMEOUT_S,
            limits=httpx.Limits(max_connections=None),
        ) as client,
    ):
        arguments = [str(folder), str(port), str(slots)]
        log = Path(logs) / "openvino.log"
        with server(arguments, _VARIABLES, log, lambda: _answers(client), program):
            yield partial(run_chat, NAME, "bench", client, ROLES)


def converted(model: Path, environment: Path) -> Path:
    """Convert a checkpoint in float32 beside itself, once, in minutes; its folder.

    Raises RuntimeError with the last line of what the converter said.
    """
    folder = model.with_name(f"{model.name}-openvino")
    if not (folder / _CONVERTED).exists():
        command = [str(environment / "bin" / "optimum-cli"), "export", "openvino"]
        command += ["--model", str(with_released_names(model)), "--task", "image-text-to-text"]
        command += ["--weight-format", "fp32", str(folder)]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{NAME} converts nothing: {done.stderr.strip().splitlines()[-1:]}")
    return folder


_VARIABLES = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "PYTHONPATH": ""}


def _environment() -> dict[str, str]:
    return {**os.environ, **_VARIABLES}


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/", timeout=5).is_success
    except httpx.HTTPError:
        return False
