"""What becomes of a job whose worker cannot go on with it."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import count
from typing import Any

import pytest

from jobs.errors import StoreUnavailable
from jobs.image_store import ImageStore
from jobs.job import Claim, Outcome
from jobs.ledger import Ledger
from jobs.pieces import Pieces
from jobs.request import Conversation, ImagePart, Turn
from jobs.store import connect
from tests.ledgers import MODEL, records, status_of, submitted
from worker import tasks
from worker.engine import EngineClosed, EngineFailed, Result
from worker.engine.requests import Request, Timing
from worker.engine.serving import Handle
from worker.leases import Leases
from worker.narrator import Narrator
from worker.tasks import Desk


@pytest.fixture
def images_away() -> Iterator[ImageStore]:
    """The pictures of a store that cannot be reached."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        client = connect(f"redis://127.0.0.1:{nobody.getsockname()[1]}/0")
        yield ImageStore(client)
        client.close()


class Idle:
    """An engine that is asked nothing."""

    def submit(self, request: Request) -> Handle:
        """Is not called."""
        raise AssertionError(f"a job without its pictures came to the engine: {request}")


def test_a_job_whose_pictures_cannot_be_read_now_goes_back_and_does_not_fail(
    client: Any, ledger: Ledger, images_away: ImageStore
) -> None:
    ImageStore(client).put("acme", "d" * 64, b"pixels")
    shown = Conversation((Turn("user", (ImagePart("d" * 64, 16, 16), "What is it?")),))
    job_id = submitted(ledger, conversation=shown)
    leases = Leases(ledger, MODEL, "w1", 1_000, dict)
    narrator = Narrator(Pieces(client))
    desk = Desk(ledger, images_away, Idle(), leases, narrator, MODEL, "w1", lambda: None)

    desk.answer_next()

    job = ledger.get("acme", job_id)
    assert job is not None
    assert (job.status, [a.outcome for a in job.attempts]) == ("queued", ["handed_back"])


class Broken:
    """An engine that ends with each request, at once or once it has taken it."""

    def __init__(self, error: EngineFailed, *, taken: bool) -> None:
        self._error = error
        self._taken = taken

    def submit(self, request: Request) -> Handle:
        """Fail."""
        del request
        if not self._taken:
            raise self._error
        handle = Doomed()
        handle.future.set_exception(self._error)
        return handle


class Doomed:
    """A request to that engine."""

    def __init__(self) -> None:
        self.future: Future[Result] = Future()

    def cancel(self) -> None:
        """Do nothing: it ends anyhow."""

    def listen(self, on_text: Callable[[str], object]) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("engine", "outcome", "crashes"),
    [
        (Broken(EngineFailed("a sticky error"), taken=True), "engine_failed", "1"),
        (Broken(EngineClosed("a sticky error before"), taken=False), "handed_back", "0"),
        (Broken(EngineClosed("closed"), taken=True), "handed_back", "0"),
    ],
    ids=["in the batch", "too late", "drained"],
)
def test_a_job_that_was_in_an_engine_as_it_broke_is_suspected_and_no_other(
    client: Any, ledger: Ledger, engine: Broken, outcome: str, crashes: str
) -> None:
    job_id = submitted(ledger)
    leases = Leases(ledger, MODEL, "w1", 1_000, dict)
    gave_up: list[str] = []
    parts = (ledger, ImageStore(client), engine, leases, Narrator(Pieces(client)))
    desk = Desk(*parts, MODEL, "w1", lambda: gave_up.append("w1"))

    desk.answer_next()
    desk.answer_next()  # which claims no more

    record = records(client)[job_id]
    assert (record["status"], record["crashes"]) == ("queued", crashes)
    job = ledger.get("acme", job_id)
    assert job is not None
    assert [attempt.outcome for attempt in job.attempts] == [outcome]
    assert gave_up == ["w1"]


class Answers:
    """An engine that has answered at once."""

    def submit(self, request: Request) -> Handle:
        """Answer."""
        del request
        handle = Doomed()
        handle.future.set_result(Result("E42", (), 1, 0, 1, "stop", Timing()))
        return handle


class AwayFor(Ledger):
    """A ledger whose store is away for so many calls."""

    left = 0

    def finish(self, claim: Claim, outcome: Outcome) -> bool:
        """End a job, once the store is back."""
        self.left -= 1
        if self.left >= 0:
            raise StoreUnavailable("the store cannot be reached")
        return super().finish(claim, outcome)


@pytest.fixture
def away(client: Any, monkeypatch: pytest.MonkeyPatch) -> AwayFor:
    """Such a ledger; between two of the worker's tries an hour goes by."""
    hours = count()
    monkeypatch.setattr(time, "monotonic", lambda: 3600.0 * next(hours))
    monkeypatch.setattr(tasks, "STORE_AGAIN_S", 0)
    return AwayFor(client)


def answering(client: Any, ledger: Ledger) -> Desk:
    """The desk of a worker that answers at once."""
    parts = (ledger, ImageStore(client), Answers(), Leases(ledger, MODEL, "w1", 1_000, dict))
    return Desk(*parts, Narrator(Pieces(client)), MODEL, "w1", lambda: None)


def test_an_answer_is_kept_for_as_long_as_the_store_is_away(client: Any, away: AwayFor) -> None:
    job_id = submitted(away)
    away.left = 48
    answering(client, away).answer_next()
    assert status_of(away, job_id) == ("succeeded", None)


def test_a_worker_that_leaves_waits_for_no_store(client: Any, away: AwayFor) -> None:
    job_id = submitted(away)
    away.left = 48
    desk = answering(client, away)
    desk.wait(0)
    desk.answer_next()
    assert away.left == 47
    assert status_of(away, job_id) == ("processing", None)
