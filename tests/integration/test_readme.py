"""The README's commands, as they stand there, against a running installation."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from llava_jobs.client import Client
from llava_jobs.demo import PICTURES
from tests.eventually import PATIENCE_S
from tests.installations import Installation, environment
from tests.integration.conftest import TRUTHS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = dict(re.findall(r"<!-- tested: (\w+) -->\n```sh\n(.+?)```", README, re.DOTALL))


def run_block(name: str, installation: Installation, **variables: str) -> dict[str, Any]:
    """Run a block of the README as it stands, but for the port; the job that it prints."""
    done = subprocess.run(
        ["bash", "-euc", BLOCKS[name].replace("http://127.0.0.1:8000", installation.url)],
        cwd=ROOT,
        env={**environment(api_key=installation.key), **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    job: dict[str, Any] = json.loads(done.stdout)
    return job


def test_the_readme_shows_four_calls() -> None:
    assert set(BLOCKS) == {"submit", "poll", "wait", "cancel"}


def test_submit_then_poll_gives_the_answer(answering: Installation) -> None:
    accepted = run_block("submit", answering)
    # What another test has asked already is answered at once.
    assert accepted["status"] in {"queued", "succeeded"}
    answered = run_block("poll", answering, JOB_ID=accepted["id"])
    assert answered["answer"]["text"] == "The code is E42."


def test_one_call_that_waits_gives_the_answer(answering: Installation) -> None:
    assert run_block("wait", answering)["answer"]["text"] == "The light is red."


def test_cancel_answers_with_the_job(answering: Installation, asker: Client) -> None:
    job = asker.submit(PICTURES / TRUTHS[0]["picture"], TRUTHS[0]["question"])
    assert run_block("cancel", answering, JOB_ID=job["id"])["id"] == job["id"]


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_first_two_commands_are_targets_of_the_makefile(target: str) -> None:
    first = README.split("```sh\n")[1].split("```")[0]
    assert f"make {target}" in first
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
