"""Jobs as records: what is written is read back, also by an older program."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from jobs.job import Job, Status
from jobs.ledger import Ledger
from jobs.request import Conversation, ImagePart, Parameters, Turn
from jobs.scripts import PREFIX
from tests.ledgers import ANSWER, claimed, draft, submitted

PICTURE = ImagePart("d" * 64, 64, 48)
CLOSELY = ImagePart("d" * 64, 64, 48, "high")


def test_a_conversation_reads_back_with_its_pictures_in_their_places() -> None:
    conversation = Conversation(
        (
            Turn("system", ("Be brief.",)),
            Turn("user", ("left:", PICTURE, "right:", CLOSELY)),
            Turn("assistant", ("是的 \u2028 \x00 🙂",)),
            Turn("user", ("And now?", "Really?")),
        )
    )
    assert Conversation.from_data(json.loads(json.dumps(conversation.to_data()))) == conversation
    assert conversation.images == (PICTURE, CLOSELY)
    assert conversation.question == "And now?\nReally?"


def test_only_three_states_are_final() -> None:
    assert {status.value for status in Status} == {
        *("queued", "processing", "succeeded", "failed", "canceled")
    }
    assert {status.value for status in Status if status.is_terminal} == {
        *("succeeded", "failed", "canceled")
    }


@pytest.mark.parametrize("ended", [False, True])
def test_a_record_with_fields_of_a_newer_version_still_reads(
    client: Any, ledger: Ledger, ended: bool
) -> None:
    job_id = submitted(ledger)
    if ended:
        ledger.finish(claimed(ledger), ANSWER)
    before = ledger.get("acme", job_id)
    client.hset(f"{PREFIX}job:{job_id}", mapping={"from_the_future": "x", "v2.shape": "{}"})
    assert ledger.get("acme", job_id) == before


def test_a_job_that_a_newer_version_wrote_is_run_and_keeps_what_it_came_with(
    client: Any, ledger: Ledger
) -> None:
    job_id = submitted(ledger)
    client.hset(f"{PREFIX}job:{job_id}", "from_the_future", "x")
    ledger.finish(claimed(ledger), ANSWER)
    assert client.hget(f"{PREFIX}job:{job_id}", "from_the_future") == b"x"


def test_what_never_changes_of_a_job_is_one_json_text() -> None:
    conversation = Conversation((Turn("user", ("What is the error code?",)),))
    asked = draft(
        conversation=conversation, parameters=Parameters(8, 0.1, 0.5), metadata={"ticket": "ä"}
    )
    assert json.loads(asked.request_json()) == {
        "conversation": [{"role": "user", "parts": ["What is the error code?"]}],
        "parameters": {"max_new_tokens": 8, "temperature": 0.1, "top_p": 0.5},
        "metadata": {"ticket": "ä"},
    }


def test_what_a_job_asks_beyond_the_first_version_reads_back(ledger: Ledger) -> None:
    parameters = Parameters(8, 0.7, 0.9, top_k=40, seed=0, stop=("\n\n", "END"))
    job = ledger.get("acme", submitted(ledger, parameters=parameters))
    assert job is not None
    assert job.parameters == parameters


def rewritten(client: Any, job_id: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what a job's record says of its request, as another version would have written it."""
    key = f"{PREFIX}job:{job_id}"
    request = json.loads(client.hget(key, "request"))
    change(request)
    client.hset(key, "request", json.dumps(request))


def test_a_record_of_the_previous_version_still_reads(client: Any, ledger: Ledger) -> None:
    job_id = submitted(ledger)

    def as_before(request: dict[str, Any]) -> None:
        request["parameters"] = {"max_new_tokens": 8, "temperature": 0.5, "top_p": 0.9}
        picture = {"digest": "d" * 64, "width": 64, "height": 48}
        request["conversation"] = [{"role": "user", "parts": [picture, "What?"]}]

    rewritten(client, job_id, as_before)
    job = ledger.get("acme", job_id)

    assert job is not None
    assert job.parameters == Parameters(8, 0.5, 0.9, top_k=0, seed=None, stop=())
    assert job.conversation.images == (PICTURE,)


def test_parameters_that_a_newer_version_added_are_left_alone(client: Any, ledger: Ledger) -> None:
    job_id = submitted(ledger)

    def as_later(request: dict[str, Any]) -> None:
        request["parameters"] |= {"top_k": 5, "beams": 4}
        picture = {**PICTURE.to_data(), "detail": "high", "crop": [0, 0, 1, 1]}
        request["conversation"] = [{"role": "user", "parts": [picture, "What?"]}]

    rewritten(client, job_id, as_later)
    job = claimed(ledger).job

    assert job.parameters == Parameters(top_k=5)
    assert job.conversation.images == (CLOSELY,)


def test_a_job_that_asks_for_nothing_new_is_written_as_the_first_version_wrote_it() -> None:
    request = json.loads(draft(images=(PICTURE,), parameters=Parameters()).request_json())
    assert set(request["parameters"]) == {"max_new_tokens", "temperature", "top_p"}
    assert set(request["conversation"][0]["parts"][0]) == {"digest", "width", "height"}


def test_a_job_cannot_be_changed(ledger: Ledger) -> None:
    job = ledger.get("acme", submitted(ledger))
    assert isinstance(job, Job)
    with pytest.raises(AttributeError):
        job.status = Status.FAILED  # type: ignore[misc]
