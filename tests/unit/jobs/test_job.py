"""Jobs as records: what is written is read back, also by an older program."""

import json
from typing import Any

import pytest

from jobs.job import Conversation, ImagePart, Job, Parameters, Status, Turn
from jobs.ledger import PREFIX, Ledger
from tests.ledgers import ANSWER, claimed, draft, submitted

PICTURE = ImagePart("d" * 64, 64, 48)


def test_a_conversation_reads_back_with_its_pictures_in_their_places() -> None:
    conversation = Conversation(
        (
            Turn("system", ("Be brief.",)),
            Turn("user", ("left:", PICTURE, "right:", PICTURE)),
            Turn("assistant", ("是的 \u2028 \x00 🙂",)),
            Turn("user", ("And now?", "Really?")),
        )
    )
    assert Conversation.from_data(json.loads(json.dumps(conversation.to_data()))) == conversation
    assert conversation.images == (PICTURE, PICTURE)
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
    asked = draft(parameters=Parameters(8, 0.1, 0.5), metadata={"ticket": "ä"})
    assert json.loads(asked.request_json()) == {
        "conversation": [{"role": "user", "parts": ["What is the error code?"]}],
        "parameters": {"max_new_tokens": 8, "temperature": 0.1, "top_p": 0.5},
        "metadata": {"ticket": "ä"},
    }


def test_a_job_cannot_be_changed(ledger: Ledger) -> None:
    job = ledger.get("acme", submitted(ledger))
    assert isinstance(job, Job)
    with pytest.raises(AttributeError):
        job.status = Status.FAILED  # type: ignore[misc]
