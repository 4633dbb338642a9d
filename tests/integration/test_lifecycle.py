"""Starting and stopping: what `up` says, what it leaves behind, and what it still has next time."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.eventually import eventually
from tests.installations import (
    GatedInstallation,
    Installation,
    caller,
    ended,
    environment,
    run,
    submit,
)

Start = Callable[..., Installation]
FEW = ("--workers", "0")


@pytest.fixture
def start(data_dir: Path) -> Iterator[Start]:
    """Starts installations on one data folder, and leaves none behind."""
    started: list[Installation] = []

    def begin(*options: str, gated: bool = False, **settings: str) -> Installation:
        kind = GatedInstallation if gated else Installation
        started.append(kind(data_dir, *options, **settings))
        return started[-1]

    yield begin
    for installation in started:
        installation.end()


@pytest.mark.usefixtures("gate")
def test_ctrl_c_hands_running_jobs_back_and_the_next_start_has_everything(
    start: Start, model_folder: Path, picture: bytes
) -> None:
    first = start("--model", str(model_folder), gated=True, drain_seconds="0.5")
    first.ready()
    key = first.key
    with caller(first.url, key) as http:
        done = ended(http, submit(http, picture, max_new_tokens="4")["id"])
        running = submit(http, picture, max_new_tokens="4000")["id"]
        eventually(
            lambda: http.get(f"/v1/jobs/{running}").json()["status"] == "processing", "it runs"
        )
    family = first.family
    assert len(family) >= 3, "store, API and worker"

    first.send(signal.SIGINT)

    assert first.status() == 0, first.text
    assert first.lines[-1] == "stopped"
    assert [seen.command for seen in family if seen.lives] == []

    second = start(*FEW, "--model", str(model_folder))
    second.ready()
    assert "your key" not in second.text
    with caller(second.url, key) as http:
        assert http.get(f"/v1/jobs/{done['id']}").json() == done
        job = http.get(f"/v1/jobs/{running}").json()
    assert job["status"] == "queued"
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["handed_back"]


def test_sigterm_ends_it_with_status_0(start: Start) -> None:
    installation = start(*FEW)
    installation.ready()
    family = installation.family
    installation.send(signal.SIGTERM)
    assert installation.status() == 0
    assert [seen.command for seen in family if seen.lives] == []


def test_it_can_be_stopped_before_it_is_ready(start: Start) -> None:
    installation = start()
    installation.line("^your key")
    family = eventually(lambda: installation.family, "its first process")
    installation.send(signal.SIGTERM)
    assert installation.status() == 0
    assert [seen.command for seen in family if seen.lives] == []


def test_when_it_is_killed_nothing_stays_and_the_next_start_has_everything(
    start: Start, picture: bytes
) -> None:
    first = start(*FEW)
    first.ready()
    key = first.key
    with caller(first.url, key) as http:
        job = submit(http, picture)
    family = first.family
    first.send(signal.SIGKILL)
    first.status()
    eventually(lambda: not [seen for seen in family if seen.lives], "its processes end")

    second = start(*FEW)
    second.ready()
    with caller(second.url, key) as http:
        assert http.get(f"/v1/jobs/{job['id']}").json()["status"] == "queued"


def test_a_store_that_died_is_started_again(start: Start) -> None:
    installation = start(*FEW)
    installation.ready()
    [store] = [seen for seen in installation.family if "valkey" in seen.command]
    os.kill(store.pid, signal.SIGKILL)
    installation.line("^the store ended; starting it again")
    installation.line("^the store started again$")


def test_a_first_key_can_be_given(start: Start) -> None:
    key = "lj_bootstrap_" + "k3y" * 16
    installation = start(*FEW, bootstrap_key=key)
    installation.ready()
    assert key not in installation.text
    with caller(installation.url, key) as http:
        assert http.get("/v1/models").is_success


def test_a_key_of_another_form_is_refused_in_one_line(data_dir: Path) -> None:
    status, text = run("up", *FEW, "--data-dir", str(data_dir), bootstrap_key="secret-canary")
    assert status != 0
    assert "lj_<" in one_cause(text)
    assert "secret-canary" not in text


def one_cause(text: str) -> str:
    """The one line in which a command that failed says why."""
    assert "Traceback" not in text
    causes = [line for line in text.splitlines() if line.startswith("llava-jobs: ")]
    assert len(causes) == 1, text
    return causes[0]


def test_a_port_in_use_is_told_in_one_line_with_the_cure(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        status, text = run("up", *FEW, "--port", port, "--data-dir", str(data_dir))
    assert status != 0
    assert port in one_cause(text)
    assert "--port" in one_cause(text)


def test_a_data_folder_in_use_is_told_in_one_line_with_the_cure(
    start: Start, data_dir: Path
) -> None:
    first = start(*FEW)
    first.ready()
    status, text = run("up", *FEW, "--port", "0", "--data-dir", str(data_dir))
    assert status != 0
    assert f"llava-jobs up (process {first.pid}) holds {data_dir}" in one_cause(text)
    assert "--data-dir" in one_cause(text)


def test_a_model_that_is_none_ends_it_with_one_line_that_says_why(
    start: Start, tmp_path: Path
) -> None:
    model = tmp_path / "bert"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "bert"}')
    installation = start("--model", str(model))
    assert installation.status() == 1
    cause = one_cause(installation.text)
    assert "worker-1 cannot start" in cause
    assert "bert" in cause


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"slots": "0"}, "LLAVA_JOBS_SLOTS"),
        ({"durability": "perhaps"}, "LLAVA_JOBS_DURABILITY"),
        ({"redis_url": "not a url"}, "LLAVA_JOBS_REDIS_URL"),
        ({"redis_url": "redis://127.0.0.1:1/0"}, "store"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_work_is_told_in_one_line(
    data_dir: Path, settings: dict[str, Any], named: str
) -> None:
    status, text = run("up", *FEW, "--port", "0", "--data-dir", str(data_dir), **settings)
    assert status != 0
    assert named in one_cause(text)


def test_secrets_are_on_no_command_line_and_in_no_file_that_others_can_read(
    start: Start, data_dir: Path
) -> None:
    installation = start(*FEW)
    installation.ready()
    password = (data_dir / "store.url").read_text().split(":")[2].split("@")[0]
    assert password not in " ".join(seen.command for seen in installation.family)
    assert (data_dir / "store.url").stat().st_mode & 0o077 == 0
    assert data_dir.stat().st_mode & 0o077 == 0
    assert "LLAVA_JOBS_REDIS_URL" not in environment()
