"""`llava-jobs` runs its own packages, also in a folder that has others of the same names."""

import subprocess
from pathlib import Path

import pytest

from tests.eventually import PATIENCE_S
from tests.installations import COMMAND, Running, environment, free_port

PACKAGES = ("api", "jobs", "worker")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A helpdesk's repository, whose packages say so where they are imported."""
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise SystemExit('the helpdesk\\'s {name}')")
    return tmp_path


def test_up_starts_its_own_api_worker_and_sender(folder: Path) -> None:
    place = ("--port", str(free_port()), "--data-dir", "data")
    running = Running([*COMMAND, "up", *place], environment(), folder)
    try:
        running.line(r"^ready http")
        logs = "".join(path.read_text() for path in (folder / "data").glob("*.log"))
    finally:
        running.end()
    assert "helpdesk" not in running.text + logs


def test_the_description_is_that_of_its_own_api(folder: Path) -> None:
    ran = subprocess.run(
        [*COMMAND, "openapi"],
        cwd=folder,
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert "/v1/jobs" in ran.stdout
