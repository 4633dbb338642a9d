"""What the demo tells to do next can be typed as it stands, wherever llava-jobs is installed."""

import sys
from pathlib import Path

import pytest

from llava_jobs import demo


def test_the_command_is_named_as_a_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Path(sys.executable).with_name("llava-jobs")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert demo._command() == str(program)
    monkeypatch.chdir(program.parent.parent)
    assert demo._command() == f"{program.parent.name}/llava-jobs"
    monkeypatch.setenv("PATH", str(program.parent))
    assert demo._command() == "llava-jobs"


def test_the_picture_is_named_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo.PICTURES)
    assert demo._from_here(demo.PICTURES / "a.jpg") == "a.jpg"
    monkeypatch.chdir(tmp_path)
    assert demo._from_here(demo.PICTURES / "a.jpg") == str(demo.PICTURES / "a.jpg")
