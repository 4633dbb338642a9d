"""What libraries are told as they are loaded."""

import subprocess
import sys

import pytest


def waiting_turns(**environment: str) -> str:
    """What OpenMP's library says of itself in a process that imports the engine, then torch."""
    run = subprocess.run(
        [sys.executable, "-c", "import worker.engine, torch"],
        env={"OMP_DISPLAY_ENV": "verbose", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    [line] = {line.strip() for line in run.stderr.splitlines() if "GOMP_SPINCOUNT" in line}
    return line.split("'")[1]


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP library is that of Linux")
def test_threads_wait_actively_for_a_short_while_unless_somebody_says_otherwise() -> None:
    assert waiting_turns() == "20000"
    assert waiting_turns(GOMP_SPINCOUNT="500") == "500"
    assert waiting_turns(OMP_WAIT_POLICY="passive") == "0"
