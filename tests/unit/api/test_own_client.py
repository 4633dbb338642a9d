"""The project's own client against the application: what is refused, erased, or hard to read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask

from jobs.job import Outcome, Status
from jobs.ledger import Ledger
from llava_jobs.batch import Answers, Ask, run_batch
from llava_jobs.client import Client
from tests.ledgers import ANSWER, claimed
from tests.unit.api.conftest import PNG, QUESTION, Caller

SEPARATORS = "\u2028\u2029\u0085\x0b"
WORDS = f"错误 E42{SEPARATORS}."
SAID = Outcome(Status.SUCCEEDED, answer={"text": WORDS, "finish_reason": "stop"})


@pytest.fixture
def asker(app: Flask, api: Caller) -> Iterator[Client]:
    """The client, with the caller's key."""
    with Client("http://api.test", api.key, patience_s=0) as client:
        client._http.close()
        client._http = httpx.Client(
            transport=httpx.WSGITransport(app=app),
            base_url="http://api.test",
            headers={"Authorization": f"Bearer {api.key}"},
        )
        yield client


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Files of which the first and the last are pictures, and the third is not there."""
    paths = [tmp_path / name for name in ("a.png", "notes.png", "gone.png", "b.png")]
    paths[0].write_bytes(PNG)
    paths[1].write_bytes(b"hello")
    paths[3].write_bytes(PNG + b"\0")
    return paths


def test_map_goes_on_after_bad_files_and_an_erased_job(
    asker: Client, api: Caller, books: Ledger, pictures: list[Path]
) -> None:
    def asked() -> Iterator[tuple[Path, str]]:
        yield from ((path, QUESTION) for path in pictures)
        # All have been submitted, and none has been looked at.
        erased, _ = sorted(api("GET", "/v1/jobs").json["data"], key=lambda job: job["created_at"])  # type: ignore[index]
        assert api("DELETE", f"/v1/jobs/{erased['id']}").status_code < 300
        books.finish(claimed(books), ANSWER)

    rows = dict(asker.map(asked(), progress=False, cache="false"))
    codes = [(rows[number]["error"] or {}).get("code") for number in range(len(pictures))]
    assert codes == ["job_not_found", "image_unsupported", "picture_unreadable", None]
    assert [rows[number]["status"] for number in range(4)] == ["failed"] * 3 + ["succeeded"]
    assert [rows[number]["id"] is None for number in range(4)] == [False, True, True, False]
    assert str(pictures[2]) in rows[2]["error"]["message"]


def test_questions_that_all_fail_are_all_told_however_few_are_under_way(asker: Client) -> None:
    rows = list(asker.map([(b"no picture", QUESTION)] * 5, in_flight=2, progress=False))
    assert [number for number, _ in rows] == list(range(5))


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.csv"])
def test_a_batch_writes_what_failed_goes_on_and_asks_only_that_again(
    asker: Client, books: Ledger, pictures: list[Path], tmp_path: Path, name: str
) -> None:
    asks = [Ask(str(path), QUESTION) for path in pictures]
    answers = Answers(tmp_path / name)

    class Answered(Client):
        """A client whose jobs are answered as soon as they are submitted."""

        def submit(self, picture: Path | bytes, question: str, **fields: str) -> dict[str, Any]:
            """Submit, and answer as a worker does."""
            job = super().submit(picture, question, **fields)
            if job["status"] == "queued":
                books.finish(claimed(books), SAID)
            return job

    asker.__class__ = Answered
    assert run_batch(asker, asks, answers, 1, progress=False) == (4, 2)
    assert answers.answered() == {asks[0], asks[3]}
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert "gone.png" in text
    assert "the picture must be" in text

    assert run_batch(asker, asks, answers, 1, progress=False) == (2, 2)
    pictures[1].write_bytes(PNG + b"\0\0")
    assert run_batch(asker, asks, answers, 1, progress=False) == (2, 1)
    assert answers.answered() == {asks[0], asks[1], asks[3]}


def test_a_stream_is_plain_ascii_and_says_any_character(
    asker: Client, api: Caller, books: Ledger
) -> None:
    job_id = api.submit(question=WORDS, metadata={"note": WORDS})
    books.finish(claimed(books), SAID)
    sent = api("GET", f"/v1/jobs/{job_id}/stream").data
    assert sent.isascii()
    *_, token, done = asker.stream(job_id)
    assert token.data == {"text": WORDS}
    assert done.kind == "done"
    assert done.data["question"] == WORDS
    assert done.data["metadata"] == {"note": WORDS}
