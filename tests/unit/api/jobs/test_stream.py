"""A job's stream: told as it happens, taken up where it broke off, and bounded in number."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from api.http.held_calls import Connections
from api.jobs import stream as job_stream
from api.services import Services
from jobs.errors import ConnectionsFull, TooManyConnections
from jobs.job import Claim, Outcome, Status
from jobs.ledger import Ledger
from jobs.pieces import Piece, Pieces
from jobs.scripts import PREFIX
from tests.eventually import PATIENCE_S, eventually
from tests.ledgers import ANSWER, claimed
from tests.sse import Told, events, text_of
from tests.unit.api.conftest import Caller, assert_problem

WORDS = ["The ", "code ", "is ", "„E42“", "."]
TEXT = "".join(WORDS)
WHOLE = Outcome(Status.SUCCEEDED, answer={"text": TEXT, "finish_reason": "stop"})


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that looks again soon, where nothing tells it."""
    monkeypatch.setattr(job_stream, "RECHECK_S", 0.05)
    monkeypatch.setattr(job_stream, "LOOK_S", 0.05)


@pytest.fixture
def parts(app: Flask) -> Services:
    """What the application works with."""
    found: Services = app.extensions["services"]
    return found


@pytest.fixture
def pieces(client: Any) -> Pieces:
    """What workers write down of what jobs say."""
    return Pieces(client)


class Listener:
    """A caller that follows a stream in a thread of its own, like any client."""

    def __init__(self, api: Caller, job_id: str, last: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {api.key}"}
        if last is not None:
            headers["Last-Event-ID"] = last
        self.response = api.http.get(f"/v1/jobs/{job_id}/stream", headers=headers)
        self.told: list[Told] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def until(self, enough: Callable[[list[Told]], bool], what: str) -> list[Told]:
        """What was told by the time that it is enough."""
        eventually(lambda: enough(self.told), what)
        return list(self.told)

    def all(self) -> list[Told]:
        """What was told by the end."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.told

    def _read(self) -> None:
        chunks = (chunk.decode() for chunk in self.response.response)  # type: ignore[union-attr]
        for event in events(line for chunk in chunks for line in chunk.split("\n")):
            self.told.append(event)
        self.response.close()


def stream(api: Caller, job_id: str, last: str | None = None) -> list[Told]:
    """All of a stream that ends by itself."""
    headers = {} if last is None else {"Last-Event-ID": last}
    response = api("GET", f"/v1/jobs/{job_id}/stream", headers=headers)
    assert response.status_code == 200, response.text
    assert response.mimetype == "text/event-stream"
    return list(events(response.text.split("\n")))


def spoken(claim: Claim, *words: str, behind: str = "") -> list[Piece]:
    """Words as a worker writes them down."""
    pieces, offset = [], len(behind)
    for word in words:
        pieces.append(Piece(claim.job.id, claim.fence, offset, word))
        offset += len(word)
    return pieces


def test_a_finished_job_is_replayed_at_once(api: Caller, books: Ledger) -> None:
    job_id = api.submit()
    books.finish(claimed(books), WHOLE)
    token, done = stream(api, job_id)
    assert (token.kind, token.data) == ("token", {"text": TEXT})
    assert (done.kind, done.data) == ("done", api.job(job_id))


def test_it_goes_on_behind_each_of_its_events(api: Caller, books: Ledger, pieces: Pieces) -> None:
    job_id = api.submit()
    listener = Listener(api, job_id)
    listener.until(lambda told: len(told) == 1, "it is queued")
    claim = claimed(books)
    listener.until(lambda told: len(told) == 2, "it runs")
    said = ""
    for word in WORDS:
        pieces.say(spoken(claim, word, behind=said))
        said += word
        listener.until(lambda told, said=said: text_of(told) == said, "the word is heard")  # type: ignore[misc]
    books.finish(claim, WHOLE)
    whole = listener.all()
    assert [event.kind for event in whole] == ["status", "status", *["token"] * 5, "done"]
    assert whole[-1].data == api.job(job_id)
    for number, event in enumerate(whole[:-1], 1):
        rest = stream(api, job_id, event.id)
        assert text_of(whole[:number] + rest) == TEXT
        assert [e.kind for e in rest].count("token") == (text_of(whole[:number]) != TEXT)
        assert rest[-1] == whole[-1]


def test_a_caller_that_comes_back_while_it_runs_goes_on(
    api: Caller, books: Ledger, pieces: Pieces
) -> None:
    job_id = api.submit()
    claim = claimed(books)
    pieces.say(spoken(claim, *WORDS[:2]))
    first = Listener(api, job_id).until(lambda told: len(told) == 2, "it has begun")
    second = Listener(api, job_id, first[-1].id)
    pieces.say(spoken(claim, *WORDS[2:], behind="".join(WORDS[:2])))
    books.finish(claim, WHOLE)
    rest = second.all()
    assert {event.kind for event in rest} == {"token", "done"}
    assert text_of(first + rest) == TEXT


def test_who_has_been_told_all_is_told_to_come_no_more(api: Caller, books: Ledger) -> None:
    job_id = api.submit()
    books.finish(claimed(books), WHOLE)
    last = stream(api, job_id)[-1].id
    response = api("GET", f"/v1/jobs/{job_id}/stream", headers={"Last-Event-ID": last})
    assert (response.status_code, response.text) == (204, "")


def test_a_queued_job_tells_its_position_as_it_moves_up(api: Caller, books: Ledger) -> None:
    for _ in range(2):
        api.submit(cache=False)
    job_id = api.submit(cache=False)
    listener = Listener(api, job_id)
    for ahead in (3, 2, 1):
        told = listener.until(lambda told, n=4 - ahead: len(told) == n, "it moved")  # type: ignore[misc]
        assert (told[-1].data["status"], told[-1].data["queue"]) == ("queued", {"position": ahead})
        books.finish(claimed(books), ANSWER)
    assert listener.all()[-1].kind == "done"


@pytest.mark.parametrize("when", ["queued", "running"])
def test_a_canceled_job_is_done(api: Caller, books: Ledger, when: str) -> None:
    job_id = api.submit()
    claim = claimed(books) if when == "running" else None
    listener = Listener(api, job_id)
    listener.until(bool, "it is followed")
    api("POST", f"/v1/jobs/{job_id}/cancel")
    if claim:
        books.finish(claim, Outcome(Status.CANCELED))
    [*_, done] = listener.all()
    assert (done.kind, done.data["status"], done.data["answer"]) == ("done", "canceled", None)


def test_a_new_attempt_that_says_the_same_is_not_noticed(
    api: Caller, books: Ledger, pieces: Pieces
) -> None:
    job_id = api.submit()
    lost = claimed(books)
    listener = Listener(api, job_id)
    pieces.say(spoken(lost, *WORDS[:3]))
    listener.until(lambda told: text_of(told) == "The code is ", "it has begun")
    books.hand_back(lost)
    anew = claimed(books)
    pieces.say(spoken(anew, *WORDS[:1]))
    listener.until(lambda told: told[-1].data.get("attempt") == 2, "it runs again")
    pieces.say(spoken(anew, *WORDS[1:], behind=WORDS[0]))
    books.finish(anew, WHOLE)
    told = listener.all()
    assert not [event for event in told if event.kind == "status" and event.data["restart"]]
    assert text_of(told) == TEXT


def test_a_new_attempt_that_says_otherwise_begins_anew(
    api: Caller, books: Ledger, pieces: Pieces
) -> None:
    job_id = api.submit()
    lost = claimed(books)
    listener = Listener(api, job_id)
    pieces.say(spoken(lost, "It is "))
    listener.until(lambda told: text_of(told) == "It is ", "it has begun")
    books.hand_back(lost)
    anew = claimed(books)
    pieces.say(spoken(anew, *WORDS))
    told = listener.until(lambda told: text_of(told) == TEXT, "it was corrected")
    assert [event.data["restart"] for event in told if event.kind == "status"].count(True) == 1
    books.finish(anew, WHOLE)
    assert text_of(listener.all()) == TEXT


def test_who_asks_the_same_hears_the_one_that_is_run(
    api: Caller, books: Ledger, pieces: Pieces
) -> None:
    first, same = api.submit(), api.submit()
    listener = Listener(api, same)
    listener.until(bool, "it is followed")
    claim = claimed(books)
    assert claim.job.id == first
    pieces.say(spoken(claim, *WORDS[:2]))
    listener.until(lambda told: text_of(told) == "The code ", "the first is heard")
    books.finish(claim, WHOLE)
    told = listener.all()
    assert text_of(told) == TEXT
    assert told[-1].data["deduplicated_from"] == first


def test_who_is_run_in_place_of_a_canceled_one_is_heard(
    api: Caller, books: Ledger, pieces: Pieces, client: Any
) -> None:
    first, same = api.submit(), api.submit()
    listener = Listener(api, same)
    listener.until(bool, "it is followed")
    api("POST", f"/v1/jobs/{first}/cancel")
    claim = claimed(books)
    assert claim.job.id == same
    pieces.say(spoken(claim, *WORDS))
    listener.until(lambda told: text_of(told) == TEXT, "its own words are heard")
    eventually(lambda: client.hget(f"{PREFIX}job:{same}", "listened"), "its worker is told")
    books.finish(claim, WHOLE)
    listener.all()


def test_a_head_request_is_answered_at_once_and_holds_no_connection(api: Caller) -> None:
    response = api("HEAD", f"/v1/jobs/{api.submit()}/stream")
    assert (response.status_code, response.data) == (200, b"")
    assert response.mimetype == "text/event-stream"


def test_the_stream_of_an_erased_job_ends(api: Caller, books: Ledger) -> None:
    job_id = api.submit()
    listener = Listener(api, job_id)
    listener.until(bool, "it is followed")
    api("DELETE", f"/v1/jobs/{job_id}")
    assert "done" not in {event.kind for event in listener.all()}
    assert_problem(api("GET", f"/v1/jobs/{job_id}/stream"), 404, "job_not_found")


def test_silence_is_broken_by_comments(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_stream, "HEARTBEAT_S", 0.0)
    headers = {"Authorization": f"Bearer {api.key}"}
    response = api.http.get(f"/v1/jobs/{api.submit()}/stream", headers=headers)
    chunks: Iterator[bytes] = iter(response.response)  # type: ignore[arg-type]
    assert next(chunks).startswith(b"retry: ")
    assert b"event: status" in next(chunks)
    assert next(chunks).startswith(b": ")
    response.close()


def test_another_tenants_stream_is_not_there(api: Caller, stranger: Caller) -> None:
    job_id = api.submit()
    assert_problem(stranger("GET", f"/v1/jobs/{job_id}/stream"), 404, "job_not_found")


def test_an_id_that_no_event_has_is_refused(api: Caller) -> None:
    headers = {"Last-Event-ID": "7"}
    response = api("GET", f"/v1/jobs/{api.submit()}/stream", headers=headers)
    told = assert_problem(response, 422, "invalid_field")
    assert told["error"]["param"] == "Last-Event-ID"


def test_whoever_hangs_up_frees_the_place(api: Caller, parts: Services) -> None:
    headers = {"Authorization": f"Bearer {api.key}"}
    job_id = api.submit()
    for read_some in (True, False):
        response = api.http.get(f"/v1/jobs/{job_id}/stream", headers=headers)
        assert len(parts.connections) == 1
        if read_some:
            next(iter(response.response))
        response.close()
        assert len(parts.connections) == 0


def test_a_tenant_holds_so_many_and_all_together_so_many() -> None:
    connections = Connections(3, 2)
    let_go = [connections.hold("acme"), connections.hold("acme")]
    with pytest.raises(TooManyConnections) as mine:
        connections.hold("acme")
    connections.hold("other")
    with pytest.raises(ConnectionsFull) as ours:
        connections.hold("third")
    assert (mine.value.status, ours.value.status) == (429, 503)
    assert mine.value.retry_after
    let_go[0]()
    let_go[0]()
    assert len(connections) == 2
    connections.hold("acme")


def test_too_many_streams_are_a_429(api: Caller, parts: Services) -> None:
    job_id = api.submit()
    held = [parts.connections.hold("acme") for _ in range(64)]
    assert_problem(api("GET", f"/v1/jobs/{job_id}/stream"), 429, "too_many_connections")
    for let_go in held:
        let_go()


def test_many_follow_many_jobs(api: Caller, books: Ledger, pieces: Pieces) -> None:
    jobs = [api.submit(cache=False) for _ in range(8)]
    listeners = [Listener(api, job_id) for job_id in jobs for _ in range(3)]
    claims = [claimed(books) for _ in jobs]

    def run(claim: Claim) -> None:
        said = ""
        for word in WORDS:
            pieces.say(spoken(claim, word, behind=said))
            said += word
        books.finish(claim, WHOLE)

    with ThreadPoolExecutor(8) as workers:
        list(workers.map(run, claims))
    for listener in listeners:
        assert text_of(listener.all()) == TEXT


def test_the_store_is_left_with_nothing(
    api: Caller, books: Ledger, client: Any, pieces: Pieces
) -> None:
    job_id = api.submit()
    claim = claimed(books)
    pieces.say(spoken(claim, *WORDS))
    books.finish(claim, WHOLE)
    stream(api, job_id)
    assert client.keys(f"{PREFIX}pieces:*") == []
