"""What becomes of a job whose worker cannot go on with it."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from jobs.image_store import ImageStore
from jobs.ledger import Ledger
from jobs.pieces import Pieces
from jobs.request import Conversation, ImagePart, Turn
from jobs.store import connect
from tests.ledgers import MODEL, records, submitted
from worker.engine import EngineClosed, EngineFailed, Result
from worker.engine.requests import Request
from worker.leases import Leases
from worker.narrator import Narrator
from worker.tasks import Desk, Handle


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
