"""What the Dockerfiles copy, install and run exists."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.deployment import DOCKERFILES, ROOT, SETTINGS, dockerfile_words
from tests.eventually import PATIENCE_S

dockerfiles = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def copied(path: Path) -> list[str]:
    """What a Dockerfile copies from this tree."""
    found = re.findall(r"^COPY (?!--from)(.+) \S+$", path.read_text(), re.MULTILINE)
    return [source for sources in found for source in sources.split()]


@dockerfiles
def test_it_copies_what_exists_and_runs_as_nobody_special(path: Path) -> None:
    text = path.read_text()
    for source in copied(path):
        assert (ROOT / source).exists(), source
    user = re.findall(r"^USER (.+)$", text, re.MULTILINE)
    assert user == ["10001:10001"]
    last_stage = text[text.rindex("\nFROM ") :]
    assert "USER 10001:10001" in last_stage
    assert "pip install" not in last_stage
    assert dockerfile_words(path, "CMD")
    assert dockerfile_words(path, "HEALTHCHECK")


@dockerfiles
def test_its_base_is_one_version_and_no_other(path: Path) -> None:
    bases = set(re.findall(r"^FROM (\S+)", path.read_text(), re.MULTILINE))
    assert len(bases) == 1
    [base] = bases
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", base)


@dockerfiles
def test_what_it_installs_is_what_the_project_names(path: Path) -> None:
    text = path.read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = re.findall(r"'\.\[([\w,]+)\]'", text)
    for extra in ",".join(extras).split(",") if extras else ():
        assert extra in project["project"]["optional-dependencies"]
    [setuptools] = project["build-system"]["requires"]
    assert f"pip install {setuptools}" in text
    assert set(re.findall(r"LLAVA_JOBS_[A-Z_]+", text)) <= SETTINGS


@dockerfiles
def test_the_package_that_it_builds_has_all_files_of_its_parts(path: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for source in copied(path):
        (tree / source).symlink_to(ROOT / source)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*build, "-q", "-w", str(tmp_path), str(tree)],
        check=True,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    [wheel] = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    parts = [part for part in copied(path) if (ROOT / part).is_dir()]
    assert parts
    for part in parts:
        for file in (ROOT / part).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert str(file.relative_to(ROOT)) in packed


def test_the_workers_image_holds_what_triton_compiles_with() -> None:
    """In the last stage: what the first one installs is left behind."""
    last = (ROOT / "deploy" / "worker.Dockerfile").read_text().rpartition("\nFROM ")[2]
    [installed] = [line for line in last.splitlines() if "apt-get install" in line]
    assert {"gcc", "libc6-dev"} <= set(installed.split())
