"""The README's commands, as they stand there, against a running installation."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.installations import TRUTHS, Installation, environment, submit

ROOT = Path(__file__).parents[2]
BLOCKS = dict(
    re.findall(r"<!-- tested: (\w+) -->\n```sh\n(.+?)```", (ROOT / "README.md").read_text(), re.S)
)


def run(block: str, installation: Installation, **variables: str) -> dict[str, Any]:
    script = block.replace("http://127.0.0.1:8000", installation.url)
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=ROOT,
        env=environment(LLAVA_JOBS_API_KEY=installation.key, **variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    body: dict[str, Any] = json.loads(done.stdout)
    return body


def test_the_readme_shows_four_calls() -> None:
    assert set(BLOCKS) == {"submit", "poll", "wait", "cancel"}


def test_submit_then_poll_gives_the_answer(installation: Installation) -> None:
    accepted = run(BLOCKS["submit"], installation)
    assert accepted["status"] == "queued"
    answered = run(BLOCKS["poll"], installation, JOB_ID=accepted["id"])
    assert answered["answer"]["text"] == "The code is E42."


def test_one_call_that_waits_gives_the_answer(installation: Installation) -> None:
    assert run(BLOCKS["wait"], installation)["answer"]["text"] == "The light is red."


def test_cancel_answers_with_the_job(installation: Installation) -> None:
    with installation.client() as client:
        job = submit(client, TRUTHS[0])
    assert run(BLOCKS["cancel"], installation, JOB_ID=job["id"])["id"] == job["id"]


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_first_two_commands_are_targets_of_the_makefile(target: str) -> None:
    first = (ROOT / "README.md").read_text().split("```sh\n")[1].split("```")[0]
    assert f"make {target}" in first
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
