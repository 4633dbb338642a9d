"""A worker starts from the volume that `fetch` filled: it asks no hub and writes nothing there."""

import shutil
from pathlib import Path

import pytest

from tests.deployment import DEPLOY
from tests.eventually import eventually
from tests.integration.deploy.conftest import Shipped

NAME = "example/talkative"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def volume(tmp_path: Path, model_folder: Path) -> Path:
    """The volume `models` with a hub's model in it, as `hf download` leaves it."""
    place = tmp_path / "models" / "hub" / f"models--{NAME.replace('/', '--')}"
    shutil.copytree(model_folder, place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    return tmp_path / "models"


def test_a_model_that_was_fetched_is_served_without_a_hub(shipped: Shipped, volume: Path) -> None:
    before = sorted(volume.rglob("*"))
    image = (DEPLOY / "worker.Dockerfile").read_text()
    assert "HF_HOME=/models HF_HUB_OFFLINE=1" in image
    worker = shipped.start(
        "worker-cpu",
        model=NAME,
        drain_seconds="0",
        variables={"HF_HOME": str(volume), "HF_HUB_OFFLINE": "1"},
    )

    def is_well() -> bool:
        assert not worker.ended, worker.text
        return shipped.check("worker-cpu").returncode == 0

    eventually(is_well, "the worker is ready")
    worker.end()
    assert sorted(volume.rglob("*")) == before
