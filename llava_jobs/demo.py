"""`llava-jobs demo`: the whole system on the bundled pictures, each answer held to its truth."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import click

from jobs.errors import JobsError
from jobs.settings import DEMO_MODEL, Settings
from llava_jobs.client import Client
from llava_jobs.embedded import free_port
from llava_jobs.tables import print_table
from llava_jobs.up import Plan, Up

NEXT_STEPS = """
Next, keep it running and ask about a picture of your own:
  {command} up
  {command} ask {picture} "{question}"
(the second in another terminal, with the key that the first prints)"""
PICTURES = Path(str(files("demo") / "pictures"))
_TIMEOUT_S = 300.0


class DemoFailed(JobsError):
    """Raised when an answer of the demo is not the truth."""

    code = "demo_failed"


@dataclass(frozen=True)
class Example:
    """A question about a bundled picture, and its one right answer."""

    picture: str
    question: str
    answer: str
    detail: str = "auto"


def examples() -> list[Example]:
    """Return the bundled examples, in the order in which they are asked."""
    return [Example(**entry) for entry in json.loads((PICTURES / "truths.json").read_text())]


def run_demo(say: Callable[[str], object]) -> None:
    """Start a private installation, ask every example through HTTP, print a table, and stop it.

    Raises DemoFailed where an answer is wrong; JobsError, ApiError where something fails.
    """
    asked = examples()
    with tempfile.TemporaryDirectory(prefix="llava-jobs-demo-") as folder:
        settings = Settings(model=DEMO_MODEL, redis_url=None, bootstrap_key=None)
        up = Up(Plan("127.0.0.1", free_port(), Path(folder), 1, settings), lambda _: None)
        started = time.monotonic()
        say("starting the embedded store, the API and one worker ...")
        with up.running():
            up.await_ready(lambda seconds: _tell(f"loading the model: {seconds:.0f} s"))
            _tell("")
            say(f"ready after {time.monotonic() - started:.1f} s")
            jobs = _answer_all(up, asked)
        _tell("")
    wrong = _print(asked, jobs, say)
    if wrong:
        raise DemoFailed(f"{wrong} of {len(asked)} answers are wrong")
    say(f"\nall {len(asked)} answers are right")
    picture = _from_here(PICTURES / asked[0].picture)
    say(NEXT_STEPS.format(command=_command(), picture=picture, question=asked[0].question))


def _command() -> str:
    """Return how this command is called from here: by its name where a shell finds it."""
    if shutil.which("llava-jobs"):
        return "llava-jobs"
    return _from_here(Path(sys.executable).with_name("llava-jobs"))


def _from_here(path: Path) -> str:
    """Return a path as it is typed from the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _answer_all(up: Up, asked: list[Example]) -> list[dict[str, object]]:
    with Client(up.url, up.first_key or "") as client:
        ids = [
            client.submit(PICTURES / e.picture, e.question, detail=e.detail)["id"] for e in asked
        ]
        ended = []
        for number, job_id in enumerate(ids, 1):
            _tell(f"answering: {number} of {len(ids)}")
            ended.append(client.wait(job_id, _TIMEOUT_S))
    return ended


def _print(
    asked: list[Example], jobs: list[dict[str, object]], say: Callable[[str], object]
) -> int:
    rows = [("picture", "question", "answer", "truth", "queued ms", "working ms", "")]
    wrong = 0
    for example, job in zip(asked, jobs, strict=True):
        answer = job.get("answer") or {}
        text = answer["text"] if isinstance(answer, dict) and answer else f"({job['status']})"
        timing = job.get("timing") or {}
        queued, working = (
            (timing.get("queue_ms", 0), sum(v for k, v in timing.items() if k != "queue_ms"))
            if isinstance(timing, dict)
            else (0, 0)
        )
        right = text == example.answer
        wrong += not right
        rows.append(
            (
                example.picture,
                example.question,
                text,
                example.answer,
                f"{queued:.0f}",
                f"{working:.0f}",
                "right" if right else "WRONG",
            )
        )
    print_table(rows, say)
    return wrong


def _tell(progress: str) -> None:
    """Show progress on one line, where somebody watches."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{progress}", nl=False, err=True)
