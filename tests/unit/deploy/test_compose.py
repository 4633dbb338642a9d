"""What docker-compose.yml names exists and agrees; no container engine is needed to see it."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.settings import Settings
from llava_jobs.cli import cli
from tests.deployment import (
    COMPOSE,
    DEPLOY,
    DOCKERFILES,
    PASSWORDS,
    ROOT,
    SERVICES,
    SETTINGS,
    command_of,
    dockerfile_words,
    seconds,
)

TEXT = (ROOT / "docker-compose.yml").read_text()
ENV_EXAMPLE = (DEPLOY / "env.example").read_text()
FOR_COMPOSE_ALONE = {"LLAVA_JOBS_LISTEN", "LLAVA_JOBS_PORT"}
BUILT = [name for name, service in SERVICES.items() if "build" in service]
services = pytest.mark.parametrize("name", SERVICES)


def test_it_is_what_the_specification_of_compose_files_allows() -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    command = [str(checker), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def test_every_variable_is_a_setting_and_explained_in_the_example() -> None:
    named = set(re.findall(r"LLAVA_JOBS_[A-Z_]+", TEXT + ENV_EXAMPLE))
    asked_for = set(re.findall(r"\$\{(\w+)", TEXT))
    explained = set(re.findall(r"^(\w+)=", ENV_EXAMPLE, re.MULTILINE))
    assert named - SETTINGS == PASSWORDS | FOR_COMPOSE_ALONE
    assert asked_for == explained


def test_a_default_here_is_that_of_the_setting() -> None:
    given = re.findall(r"^(LLAVA_JOBS_\w+)=(.+)$", ENV_EXAMPLE, re.MULTILINE)
    given += re.findall(r"\$\{(LLAVA_JOBS_\w+):-([^}]+)\}", TEXT)
    for name, value in given:
        if name in SETTINGS:
            field = Settings.model_fields[name.removeprefix("LLAVA_JOBS_").lower()]
            assert value == str(field.default), name


def test_new_env_draws_what_must_be_secret_and_nothing_else() -> None:
    drawn = [_variables(_new_env()) for _ in range(2)]
    example = _variables(ENV_EXAMPLE)
    secret = {*PASSWORDS, "GRAFANA_PASSWORD", "LLAVA_JOBS_BOOTSTRAP_KEY"}
    for name, value in example.items():
        first, second = (variables[name] for variables in drawn)
        if name in secret:
            assert value == ""
            assert re.fullmatch(r"[0-9a-z_]{48,}", first)
            assert first != second
        else:
            assert first == second == value
    assert re.fullmatch(r"lj_[a-z0-9]{12}_[a-z0-9]{48}", drawn[0]["LLAVA_JOBS_BOOTSTRAP_KEY"])


def test_what_starts_always_and_what_with_a_profile() -> None:
    profiles = {name: service.get("profiles") for name, service in SERVICES.items()}
    always = dict.fromkeys(["store", "api", "nginx", "deliver"])
    monitoring = {"prometheus": ["monitoring"], "grafana": ["monitoring"]}
    workers = {"worker": ["gpu"], "worker-cpu": ["cpu"], "fetch": ["fetch"]}
    assert profiles == always | workers | monitoring


@services
def test_a_service_may_do_nothing_that_it_need_not(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    if name not in BUILT:
        assert service["user"] not in {"root", "0"}
        # A tag that names one version; what we build has the version of this tree.
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*", service["image"])


@services
def test_a_service_has_a_check_and_time_to_stop(name: str) -> None:
    service = SERVICES[name]
    if name == "fetch":
        assert service["healthcheck"] == {"disable": True}
        return
    check = service.get("healthcheck")
    assert check is None or check["test"][0] in {"CMD", "CMD-SHELL"}
    assert check or dockerfile_words(ROOT / service["build"]["dockerfile"], "HEALTHCHECK")


@services
def test_what_a_service_mounts_is_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        source, target, *mode = volume.split(":")
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]
        assert target.startswith("/")


def test_others_reach_nginx_and_nothing_else() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.pop("grafana") == ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"]
    assert list(published) == ["nginx"]
    assert not any("expose" in service for service in SERVICES.values())


def test_the_store_is_on_a_network_that_leads_nowhere_and_workers_on_no_other() -> None:
    assert COMPOSE["networks"]["store"] == {"internal": True}
    for name in ("store", "worker", "worker-cpu"):
        assert SERVICES[name]["networks"] == ["store"]
    assert "store" not in SERVICES["nginx"]["networks"]


def test_each_part_comes_to_the_store_as_its_own_user() -> None:
    users = {
        name: re.match(r"redis://(\w+):\$\{LLAVA_JOBS_STORE_(\w+)_PASSWORD", url)
        for name, service in SERVICES.items()
        if (url := service.get("environment", {}).get("LLAVA_JOBS_REDIS_URL"))
    }
    found = {name: user.groups() for name, user in users.items() if user}
    assert found == {
        "api": ("api", "API"),
        "deliver": ("sender", "SENDER"),
        "worker": ("worker", "WORKER"),
        "worker-cpu": ("worker", "WORKER"),
    }


def test_both_who_check_where_webhooks_may_go_are_told_the_same() -> None:
    environments = (SERVICES[name]["environment"] for name in ("api", "deliver"))
    api, sender = ({k: v for k, v in e.items() if "WEBHOOK" in k} for e in environments)
    assert set(api) == {"LLAVA_JOBS_WEBHOOK_NETWORKS", "LLAVA_JOBS_WEBHOOK_HTTP_HOSTS"}
    assert api == sender


def test_processes_have_longer_to_stop_than_they_take() -> None:
    def grace(name: str) -> float:
        return seconds(SERVICES[name]["stop_grace_period"])

    from api.server import gunicorn_conf

    assert grace("worker") > Settings.model_fields["drain_seconds"].default + 20
    assert grace("worker-cpu") == grace("worker")
    assert grace("deliver") > Settings.model_fields["webhook_timeout_s"].default + 5
    assert grace("api") > gunicorn_conf.graceful_timeout + 5
    assert grace("nginx") >= grace("api")


def test_commands_are_the_ones_that_up_starts() -> None:
    source = (ROOT / "llava_jobs" / "up.py").read_text()
    for name in ("api", "worker"):
        for word in command_of(name):
            assert f'"{word}"' in source or word == "0.0.0.0:8000", word
    program, subcommand = command_of("deliver")
    assert program == "llava-jobs"
    assert subcommand in cli.commands
    assert '"llava_jobs", "deliver"' in source


def test_what_fetches_a_model_is_a_command_of_the_hub_with_these_options() -> None:
    [line] = re.findall(r"exec (hf .*)$", command_of("fetch")[-1])
    program, command, _, option, _ = line.split()
    helped = subprocess.run(
        [Path(sys.executable).with_name(program), command, "--help"],
        capture_output=True,
        text=True,
    )
    assert helped.returncode == 0
    assert option in helped.stdout
    assert SERVICES["fetch"]["volumes"] == ["models:/models"]


def test_images_are_built_from_what_is_there() -> None:
    dockerfiles = {SERVICES[name]["build"]["dockerfile"] for name in BUILT}
    assert dockerfiles == {f"deploy/{path.name}" for path in DOCKERFILES}
    arguments: Any = SERVICES["worker-cpu"]["build"]["args"]
    for name in arguments:
        assert f"ARG {name}=" in (DEPLOY / "worker.Dockerfile").read_text()


def _new_env() -> str:
    return subprocess.run(
        ["sh", str(DEPLOY / "new-env")], capture_output=True, text=True, check=True
    ).stdout


def _variables(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
