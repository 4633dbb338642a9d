"""What becomes of a job whose worker cannot go on with it."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from jobs.image_store import ImageStore
from jobs.ledger import Ledger
from jobs.pieces import Pieces
from jobs.request import Conversation, ImagePart, Turn
from jobs.store import connect
from tests.ledgers import MODEL, submitted
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
