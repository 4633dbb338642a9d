"""The files of the release before, taken from the history at test time."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMIT = (Path(__file__).parent / "commit").read_text().strip()
CACHE = ROOT / ".cache" / "previous"


@cache
def lacks() -> str | None:
    """Why the release before cannot be had here; None where its folder is there."""
    try:
        _take(CACHE / COMMIT)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no commit {COMMIT[:12]} to run beside this one: git fetch --unshallow ({error})"
    return None


def folder() -> Path:
    """The folder of the release before."""
    assert lacks() is None, lacks()
    return CACHE / COMMIT


def environment() -> dict[str, str]:
    """What a Python process needs in its environment to run the release before, in its folder."""
    return {"PYTHONPATH": str(folder())}


def _take(target: Path) -> None:
    if target.is_dir():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="new-", dir=CACHE))
    try:
        files = _git("archive", "--format=tar", COMMIT)
        subprocess.run(["tar", "-x", "-C", str(made)], input=files, check=True)
        made.rename(target)
    except OSError:
        if not target.is_dir():  # else another process of the suite was first
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _git(*words: str) -> bytes:
    # A hook or a worktree may name another repository than the one that the tests lie in.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    ran = subprocess.run(["git", *words], cwd=ROOT, env=kept, capture_output=True, check=True)
    return ran.stdout
