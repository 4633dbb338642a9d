"""What docker-compose.yml and deploy/ say, read for tests that run it and hold it to the code."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from jobs.settings import Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = sorted(DEPLOY.glob("*.Dockerfile"))
SETTINGS = {f"LLAVA_JOBS_{name.upper()}" for name in Settings.model_fields}
ROLES = ("API", "WORKER", "SENDER", "OPERATOR", "METRICS")
PASSWORDS = {f"LLAVA_JOBS_STORE_{role}_PASSWORD" for role in ROLES}
"""What the store's own scripts read; no setting of ours."""

Manifest = dict[str, Any]


def dockerfile_words(path: Path, instruction: str) -> list[str]:
    """The words of a Dockerfile's CMD or HEALTHCHECK, which are written as JSON."""
    found = re.search(rf"^{instruction}\b[^\[]*(\[.+\])$", path.read_text(), re.MULTILINE)
    assert found, f"{path.name} has no {instruction} in JSON"
    words: list[str] = json.loads(found[1])
    return words


def command_of(service: str) -> list[str]:
    """What a service of the compose file runs: its own command, or its image's."""
    found = SERVICES[service]
    if "command" in found:
        return [word.replace("$$", "$") for word in found["command"]]
    return dockerfile_words(ROOT / found["build"]["dockerfile"], "CMD")


def check_of(service: str) -> list[str]:
    """What looks whether a service is well: its own check, or its image's."""
    found = SERVICES[service]
    if "healthcheck" not in found:
        return dockerfile_words(ROOT / found["build"]["dockerfile"], "HEALTHCHECK")
    kind, *words = found["healthcheck"]["test"]
    return ["sh", "-c", *words] if kind == "CMD-SHELL" else words


def environment_of(service: str, env_file: Mapping[str, str]) -> dict[str, str]:
    """A service's environment with the variables of an env file put in, as compose does."""

    def value(found: re.Match[str]) -> str:
        name, operator, rest = found.groups()
        given = env_file.get(name, "")
        assert given or operator != "?", f"{name}: {rest}"
        return given or rest or ""

    variable = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
    environment: dict[str, str] = SERVICES[service].get("environment", {})
    return {name: variable.sub(value, text) for name, text in environment.items()}


def seconds(text: str) -> float:
    """A time such as 75s, 15m or 500ms, in seconds."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def manifests() -> dict[str, Manifest]:
    """Kubernetes' objects by kind and name."""
    found: dict[str, Manifest] = {}
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for manifest in yaml.safe_load_all(path.read_text()):
            name = f"{manifest['kind']}/{manifest['metadata']['name']}"
            assert name not in found
            found[name] = manifest
    return found


def pods() -> Iterator[tuple[str, Manifest]]:
    """The pods that Kubernetes' objects make, by the object's kind and name."""
    for name, manifest in manifests().items():
        if "template" in manifest.get("spec", {}):
            yield name, manifest["spec"]["template"]["spec"]


def containers() -> Iterator[tuple[str, Manifest]]:
    """Their containers, by the object's kind and name and the container's name."""
    for name, pod in pods():
        for container in pod["containers"]:
            yield f"{name}/{container['name']}", container


def scaling_queries() -> dict[str, str]:
    """What KEDA asks Prometheus, by the trigger's name."""
    triggers = manifests()["ScaledObject/worker"]["spec"]["triggers"]
    return {trigger["name"]: trigger["metadata"]["query"] for trigger in triggers}
