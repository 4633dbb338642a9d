"""Images of others are those of one version, and can be pinned to what a registry has of it."""

import hashlib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployment import DEPLOY, DOCKERFILES, SERVICES, containers

OF_OTHERS = {name: service["image"] for name, service in SERVICES.items() if "build" not in service}
Pin = Callable[..., "subprocess.CompletedProcess[str]"]


def digest(image: str) -> str:
    """The digest that the registry of these tests has of an image."""
    return f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"


@pytest.fixture
def pin(tmp_path: Path) -> Pin:
    """Runs the script that pins, with a `docker` that knows some images; no engine is here."""

    def run(*arguments: str, known: dict[str, str] = OF_OTHERS) -> Any:
        cases = "".join(
            f'*" {image}") printf "Name: x\\nDigest:    {digest(image)}\\n\\n  Name: y\\n";;\n'
            for image in known.values()
        )
        docker = tmp_path / "docker"
        docker.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}*) exit 1;;\nesac\n')
        docker.chmod(0o755)
        return subprocess.run(
            ["sh", str(DEPLOY / "pin-images"), *arguments],
            env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
        )

    return run


def test_no_tag_is_one_that_moves() -> None:
    named = {
        *(service["image"] for service in SERVICES.values()),
        *(container["image"] for _, container in containers()),
        *(
            base
            for path in DOCKERFILES
            for base in re.findall(r"^FROM (\S+)", path.read_text(), re.MULTILINE)
        ),
    }
    ours = {image for image in named if image.rpartition("/")[2].startswith("llava-jobs-")}
    assert {image.partition(":")[2] for image in ours} == {"", "0.1.0"}
    for image in named - ours:
        tag = image.rpartition(":")[2]
        assert re.match(r"v?\d+\.\d+\.\d+(-|$)", tag), f"{image}: {tag} will be another one day"


def test_for_compose_each_image_of_others_keeps_its_version_and_gets_its_digest(pin: Pin) -> None:
    pinned = yaml.safe_load(pin().stdout)
    wanted = {name: {"image": f"{image}@{digest(image)}"} for name, image in OF_OTHERS.items()}
    assert pinned == {"services": wanted}
    assert set(wanted) == {"store", "nginx", "prometheus", "grafana"}


def test_for_kubernetes_they_are_images_of_the_kustomization(pin: Pin) -> None:
    pinned = yaml.safe_load(f"images:\n{pin('kubernetes').stdout}")["images"]
    told = {image["name"]: image["digest"] for image in pinned}
    assert told == {image.rpartition(":")[0]: digest(image) for image in OF_OTHERS.values()}
    used = {c["image"] for _, c in containers() if not c["image"].startswith("llava-jobs")}
    theirs = {image.rpartition(":")[0] for image in used if "llava-jobs" not in image}
    assert theirs <= set(told)


def test_an_image_that_cannot_be_resolved_is_no_success(pin: Pin) -> None:
    ran = pin(known={"store": OF_OTHERS["store"]})
    assert ran.returncode != 0
