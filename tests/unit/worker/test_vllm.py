"""vLLM's own environment runs the tests of the engine on it."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PYTHON = Path(os.environ.get("LLAVA_JOBS_TEST_VLLM") or ROOT / ".cache/vllm") / "bin/python"


@pytest.mark.timeout(900)
@pytest.mark.skipif(not PYTHON.exists(), reason="vLLM is not here: run tests/fetch-vllm")
def test_the_vllm_engine_keeps_the_promises_of_an_engine() -> None:
    path = f"{PYTHON.parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        [PYTHON, "-m", "pytest", "-q", "tests/vllm"],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
