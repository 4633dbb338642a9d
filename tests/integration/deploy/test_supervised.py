"""What supervisors see of the parts: each healthcheck as it stands, run against what runs."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from jobs.store import connect
from tests.eventually import eventually
from tests.integration.deploy.conftest import Shipped

PARTS = ["store", "api", "nginx", "deliver", "worker"]


@pytest.mark.parametrize("service", PARTS)
def test_a_part_that_is_well_is_found_well(shipped: Shipped, service: str) -> None:
    found = shipped.check(service)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.fixture
def operator(shipped: Shipped) -> Iterator[Any]:
    """Whoever runs the store."""
    client = connect(shipped.store.url("operator"))
    yield client
    client.close()


def test_a_worker_is_not_ready_before_its_model_is_nor_from_its_drain_on(
    shipped: Shipped, operator: Any
) -> None:
    running = shipped.running["worker"]
    pulse = shipped.folder / "worker.pulse"
    assert pulse.exists()
    operator.execute_command("ACL", "LOG", "RESET")
    running.send(signal.SIGTERM)
    assert running.status() == 0, running.text
    assert shipped.check("worker").returncode == 1
    # Left by a process that had no time to take it along, and not to be taken for the next one's.
    pulse.touch()
    again = shipped.start("worker", drain_seconds="1")
    eventually(lambda: not pulse.exists(), "the old pulse is gone")
    assert "starts, or ends" in shipped.check("worker").stdout
    eventually(lambda: shipped.check("worker").returncode == 0, "the worker is ready")
    assert not again.ended
    assert operator.execute_command("ACL", "LOG") == []


def test_a_worker_whose_watchdog_looks_no_more_is_found_ill(shipped: Shipped) -> None:
    pulse = shipped.folder / "worker.pulse"
    running = shipped.running["worker"]
    running.send(signal.SIGSTOP)
    try:
        os.utime(pulse, (1, 1))
        found = shipped.check("worker")
        assert found.returncode == 1
        assert "the last pulse was" in found.stdout
    finally:
        running.send(signal.SIGCONT)
    eventually(lambda: shipped.check("worker").returncode == 0, "it is well again")


def test_a_sender_that_was_told_to_end_takes_its_pulse_along(shipped: Shipped) -> None:
    running = shipped.running["deliver"]
    running.send(signal.SIGTERM)
    assert running.status() == 0, running.text
    assert shipped.check("deliver").returncode == 1
    shipped.start("deliver")
    eventually(lambda: shipped.check("deliver").returncode == 0, "it is well")


def test_readiness_of_the_api_follows_the_store(shipped: Shipped) -> None:
    assert httpx.get(f"{shipped.url}/readyz").status_code == 200
    shipped.store.end()
    try:
        eventually(lambda: httpx.get(f"{shipped.url}/readyz", timeout=30).status_code == 503, "503")
        assert httpx.get(f"{shipped.url}/healthz").status_code == 200
        assert shipped.check("store").returncode == 1
        # The worker lives: what it runs is worth more than a start.
        assert shipped.check("worker").returncode == 0
    finally:
        shipped.store.start()
    eventually(lambda: httpx.get(f"{shipped.url}/readyz").status_code == 200, "ready again")
