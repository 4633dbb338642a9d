"""How long the threads that compute on a CPU wait actively for each other."""

import subprocess
import sys

import pytest


def waiting_turns(**environment: str) -> str:
    """What OpenMP's library says of itself in a worker's process."""
    run = subprocess.run(
        [sys.executable, "-c", "import worker; worker.celery"],
        env={
            "LLAVA_JOBS_REDIS_URL": "redis://localhost",
            "OMP_DISPLAY_ENV": "verbose",
            **environment,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    [line] = {line.strip() for line in run.stderr.splitlines() if "GOMP_SPINCOUNT" in line}
    return line.split("'")[1]


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP library is that of Linux")
@pytest.mark.parametrize(
    ("environment", "turns"),
    [
        ({}, "20000"),
        ({"GOMP_SPINCOUNT": "500"}, "500"),
        ({"OMP_WAIT_POLICY": "passive"}, "0"),
    ],
)
def test_threads_wait_actively_for_a_short_while_unless_somebody_says_otherwise(
    environment: dict[str, str], turns: str
) -> None:
    assert waiting_turns(**environment) == turns
