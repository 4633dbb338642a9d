"""`llava-jobs intake`, `workers` and `failures`, on a store that runs."""

from typing import Any

import pytest
from click.testing import CliRunner

from jobs.errors import IntakePaused, NotFound
from jobs.job import Outcome, Reason, Status
from jobs.ledger import Ledger
from llava_jobs.cli import cli
from llava_jobs.embedded import EmbeddedStore
from tests.ledgers import FAILURE, MODEL, claimed, status_of, submitted
from tests.unit.llava_jobs.test_commands import Command


@pytest.fixture
def books(client: Any) -> Ledger:
    """The ledger by the store's own clock, as a command has it."""
    return Ledger(client)


@pytest.fixture
def command(store: EmbeddedStore, client: Any) -> Command:
    """Runs a command on the store and returns what it prints."""

    def run(*words: str) -> str:
        environment = {"LLAVA_JOBS_REDIS_URL": store.url}
        result = CliRunner().invoke(cli, words, env=environment, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout.strip()

    return run


def failed(books: Ledger) -> str:
    """A job that has just failed."""
    job_id = submitted(books)
    books.finish(claimed(books), Outcome(Status.FAILED, Reason.ERROR, error=FAILURE))
    return job_id


def test_the_intake_is_paused_shown_and_resumed(command: Command, books: Ledger) -> None:
    assert command("intake", "show") == "jobs are accepted"
    command("intake", "pause")
    command("intake", "pause", "--tenant", "other")
    everybody, other = command("intake", "show").splitlines()
    assert everybody.startswith("everybody: paused since 20")
    assert other.startswith("other: paused since 20")
    with pytest.raises(IntakePaused):
        submitted(books)
    command("intake", "resume")
    submitted(books)
    with pytest.raises(IntakePaused):
        submitted(books, "other")


def test_a_worker_is_drained_and_resumed(command: Command, books: Ledger) -> None:
    books.renew("w1", MODEL, {"slots": 8}, {})
    assert command("workers", "list").splitlines()[1].split()[:4] == ["w1", MODEL, "ready", "0/8"]
    command("workers", "drain", "w1", "--hand-back")
    assert "drained" in command("workers", "list")
    submitted(books)
    assert books.claim(MODEL, "w1") is None
    command("workers", "resume", "w1")
    claimed(books)
    with pytest.raises(NotFound):
        command("workers", "drain", "w9")


def test_failed_jobs_are_counted_listed_and_asked_again(command: Command, books: Ledger) -> None:
    first, second = failed(books), failed(books)
    assert command("failures", "count").splitlines()[1].split() == ["error", "2"]
    assert FAILURE["code"] in command("failures", "list", "error")
    new = command("failures", "retry-job", first)
    assert command("failures", "retry-job", first) == new
    assert status_of(books, new) == ("queued", None)
    assert command("failures", "retry", "error") == "asked 1 again"
    assert status_of(books, second) == ("failed", "error")
    assert books.queued(MODEL)["normal"] == 2
    with pytest.raises(NotFound):
        command("failures", "retry-job", "job_none")


def test_what_cannot_be_asked_again_is_left_and_counted(command: Command, books: Ledger) -> None:
    failed(books)
    command("intake", "pause")
    assert command("failures", "retry", "error").splitlines() == [
        "asked 0 again",
        "left 1 as they are: paused",
    ]
