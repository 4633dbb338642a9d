"""A stream goes on behind any event that it ever told, over whatever happened meanwhile."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from api.jobs.stream_events import DONE, Event, Place, Telling
from jobs.errors import InvalidRequest
from jobs.job import Job, Outcome, Status
from jobs.ledger import Ledger
from tests.ledgers import asked, claimed, now, submitted

ANSWER = "Der Fehlercode ist „E42“ 🙂."
OUTCOME = Outcome(Status.SUCCEEDED, answer={"text": ANSWER, "finish_reason": "stop"})


class Moment(NamedTuple):
    """What there was to tell at one time."""

    job: Job
    position: int | None
    said: str


@pytest.fixture
def life(ledger: Ledger) -> list[Moment]:
    """A job that waits, moves up, runs, speaks, is handed back, and is answered at the next try."""
    job_id = submitted(ledger)
    waiting = job(ledger, job_id)
    first = claimed(ledger)
    running = job(ledger, job_id)
    ledger.hand_back(first)
    back = job(ledger, job_id)
    second = claimed(ledger)
    again = job(ledger, job_id)
    ledger.finish(second, OUTCOME)
    return [
        Moment(waiting, 3, ""),
        Moment(waiting, 1, ""),
        Moment(running, None, ""),
        Moment(running, None, ANSWER[:4]),
        Moment(running, None, ANSWER[:20]),
        Moment(back, 1, ANSWER[:20]),
        Moment(again, None, ""),
        Moment(again, None, ANSWER[:9]),
        Moment(again, None, ANSWER[:-3]),
        Moment(job(ledger, job_id), None, ""),
    ]


def job(ledger: Ledger, job_id: str) -> Job:
    """A job as it stands."""
    found = ledger.get("acme", job_id)
    assert found
    return found


def told(place: Place, moments: list[Moment]) -> Iterator[Event]:
    """All that a caller at a place is told while these moments pass."""
    telling = Telling(place)
    for moment in moments:
        yield from telling.news(*moment)


def text(events: list[Event]) -> str:
    """The answer that a caller has, who drops what it had where it is told to."""
    parts = ""
    for event in events:
        parts = "" if event.data.get("restart") else parts + event.data.get("text", "")
    return parts


def test_the_whole_life_of_a_job_is_told_once_and_in_order(life: list[Moment]) -> None:
    events = list(told(Place(), life))
    states = [
        (e.data["status"], e.data["attempt"], (e.data["queue"] or {}).get("position"))
        for e in events
        if e.kind == "status"
    ]
    assert states == [
        ("queued", 0, 3),
        ("queued", 0, 1),
        ("processing", 1, None),
        ("queued", 1, 1),
        ("processing", 2, None),
    ]
    assert not [event for event in events if event.data.get("restart")]
    assert text(events) == ANSWER
    assert [event.kind for event in events].count("done") == 1
    assert events[-1].data["answer"]["text"] == ANSWER
    assert len({event.id for event in events}) == len(events)


def test_a_caller_that_comes_back_behind_any_event_has_the_same_in_the_end(
    life: list[Moment],
) -> None:
    whole = list(told(Place(), life))
    for break_at, event in enumerate(whole[:-1], 1):
        for moment in range(len(life)):
            seen = whole[:break_at]
            rest = list(told(Place.read(event.id), life[moment:]))
            assert text(seen + rest) == ANSWER, (event.id, moment)
            assert rest[-1].id == DONE


def test_a_caller_that_comes_back_at_once_is_told_exactly_the_rest(life: list[Moment]) -> None:
    telling, seen = Telling(Place()), list[Event]()
    for number, moment in enumerate(life):
        for event in telling.news(*moment):
            seen.append(event)
            if event.id != DONE:
                rest = list(told(Place.read(event.id), life[number:]))
                assert [*seen, *rest] == list(told(Place(), life))


def test_another_answer_of_a_later_attempt_begins_anew(life: list[Moment]) -> None:
    *_, again, _, _, ended = life
    events = list(told(Place(), life[:6]))
    other = "Something else entirely, and longer."
    late = list(told(Place.read(events[-1].id), [again, again._replace(said=other)]))
    assert [(e.kind, e.data.get("restart")) for e in late] == [
        ("status", False),
        ("status", True),
        ("token", None),
    ]
    assert text(events + late) == other
    assert text([*events, *late, *told(Place.read(late[-1].id), [ended])]) == ANSWER


def test_an_answer_that_is_shorter_than_what_was_said_begins_anew(
    ledger: Ledger, life: list[Moment]
) -> None:
    events = list(told(Place(), [life[4]._replace(said=ANSWER + " And more."), life[-1]]))
    assert text(events) == ANSWER


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELED])
def test_a_job_without_an_answer_is_done_all_the_same(ledger: Ledger, status: Status) -> None:
    job_id = submitted(ledger)
    ledger.finish(claimed(ledger), Outcome(status, error={"code": "x", "message": "y"}))
    [event] = told(Place(), [Moment(job(ledger, job_id), None, "half an ans")])
    assert (event.kind, event.data["status"], event.data["answer"]) == ("done", status, None)


def test_a_finished_job_is_told_at_once(ledger: Ledger) -> None:
    job_id = submitted(ledger)
    ledger.finish(claimed(ledger), OUTCOME)
    token, done = told(Place(), [Moment(job(ledger, job_id), None, "")])
    assert (token.kind, token.data, done.kind) == ("token", {"text": ANSWER}, "done")


def test_the_copy_of_an_answer_goes_on_where_the_first_broke_off(ledger: Ledger) -> None:
    first, same = asked(ledger), asked(ledger)
    assert same.deduplicated_from == first.id
    seen = list(told(Place(), [Moment(now(ledger, same), 1, ANSWER[:7])]))
    ledger.finish(claimed(ledger), OUTCOME)
    rest = list(told(Place.read(seen[-1].id), [Moment(now(ledger, same), None, "")]))
    assert [event.kind for event in rest] == ["token", "done"]
    assert text(seen + rest) == ANSWER


@pytest.mark.parametrize(
    "wrong",
    ["", "1", "queued-1", "queued-1:0", "queued-1:x:0123456789abcdef", "queued-1:0:xyz", DONE],
)
def test_what_is_no_id_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Place.read(wrong)
    assert refused.value.param == "Last-Event-ID"


def test_an_id_names_the_place_that_it_was_made_of() -> None:
    place: Any = Place("processing-2").behind("„E42“")
    assert Place.read(str(place)) == place
