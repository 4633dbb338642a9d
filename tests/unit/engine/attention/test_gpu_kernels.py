"""Triton's kernels without a GPU: run in its interpreter, and compiled for GPUs of several years.

Each in a process of its own: Triton decides when it is imported whether it interprets, and the
other tests of a process may have imported it.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")

HERE = Path(__file__).parent
ROOT = HERE.parents[3]


def run(*command: str, interpret: bool) -> str:
    """What Python said; fails where it did."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": str(int(interpret)), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout


@pytest.mark.timeout(600)
def test_the_kernels_are_right_in_tritons_interpreter() -> None:
    said = run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "interpreted")), interpret=True
    )
    assert " passed" in said
    assert "skipped" not in said


SHARED = {75: 64, 90: 227}
"""KiB of shared memory that one program may have, by compute capability (CUDA's programming guide,
technical specifications)."""


@pytest.mark.parametrize("capability", SHARED)
def test_the_kernels_compile_at_the_sizes_of_the_released_models(
    capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    said = run(
        "-m", "tests.unit.engine.attention.compile_kernels", str(capability), interpret=False
    )
    needed = json.loads(said)
    kernels = {"_attend", "_join", "_rotate_and_store", "_norm", "_gated", "_rows_to_float8"}
    assert kernels == needed.keys()
    assert max(needed.values()) <= SHARED[capability] * 1024, needed
    # Enough for two programs at a time, or nothing would hide the time of reading the keys.
    assert 2 * needed["_attend"] <= max(SHARED[capability], 100) * 1024
