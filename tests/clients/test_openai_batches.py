"""The official `openai` package sends files, runs batches, follows them and cancels them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import openai as package
import pytest
from openai import OpenAI
from openai.types import Batch

from llava_jobs.demo import Example
from tests.clients.conftest import EXAMPLES, conversation
from tests.eventually import eventually
from tests.gate import Gate
from tests.installations import Installation, descendants

FIRST = EXAMPLES[0]
ENDPOINT: Any = "/v1/chat/completions"


def line(custom_id: str, example: Example = FIRST, **body: Any) -> dict[str, Any]:
    """A line that asks a bundled question, and one that others do not ask."""
    asked = {"model": "demo", "messages": conversation(example), "user": custom_id, **body}
    return {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": asked}


def begun(client: OpenAI, lines: list[Any], **fields: Any) -> Batch:
    """A batch that was just begun."""
    text = "".join(json.dumps(each) + "\n" for each in lines)
    sent = client.files.create(file=("lines.jsonl", text.encode()), purpose="batch")
    return client.batches.create(
        input_file_id=sent.id, endpoint=ENDPOINT, completion_window="24h", **fields
    )


def seen(client: OpenAI, batch: Batch, look: Callable[[Batch], bool], what: str) -> Batch:
    """A batch as soon as it is as wanted."""

    def now() -> Batch | None:
        found = client.batches.retrieve(batch.id)
        return found if look(found) else None

    return eventually(now, what)


def ended(client: OpenAI, batch: Batch) -> Batch:
    """A batch that has ended."""
    ends = {"completed", "failed", "expired", "cancelled"}
    return seen(client, batch, lambda found: found.status in ends, "the batch ends")


def lines_of(client: OpenAI, file_id: str | None) -> dict[str, Any]:
    """The lines of a file by their custom id."""
    text = client.files.content(file_id).text if file_id else ""
    lines = [json.loads(each) for each in text.splitlines()]
    assert len({each["custom_id"] for each in lines}) == len(lines)
    return {each["custom_id"]: each for each in lines}


def test_a_batch_answers_every_bundled_question_right(openai: OpenAI) -> None:
    asked = {f"q{number}": example for number, example in enumerate(EXAMPLES)}
    lines = [line(name, example, seed=21) for name, example in asked.items()]
    batch = begun(openai, lines, metadata={"run": "examples"})
    assert (batch.object, batch.metadata, batch.completion_window) == (
        "batch",
        {"run": "examples"},
        "24h",
    )
    done = ended(openai, batch)
    assert (done.status, done.errors, done.error_file_id) == ("completed", None, None)
    assert done.request_counts
    assert (done.request_counts.total, done.request_counts.completed) == (len(asked), len(asked))
    assert done.usage
    assert done.usage.output_tokens > len(asked)
    assert done.in_progress_at
    assert done.completed_at
    assert done.created_at <= done.in_progress_at <= done.completed_at
    answers = lines_of(openai, done.output_file_id)
    told = {
        n: a["response"]["body"]["choices"][0]["message"]["content"] for n, a in answers.items()
    }
    assert told == {name: example.answer for name, example in asked.items()}


def test_requests_that_are_refused_are_in_the_error_file(openai: OpenAI) -> None:
    batch = begun(openai, [line("good", seed=22), line("bad", n=2), line("gone", model="gpt-none")])
    done = ended(openai, batch)
    assert done.status == "completed"
    assert set(lines_of(openai, done.output_file_id)) == {"good"}
    refused = lines_of(openai, done.error_file_id)
    told = {name: (e["line"], e["response"]["status_code"]) for name, e in refused.items()}
    assert told == {"bad": (2, 400), "gone": (3, 404)}


def test_an_input_that_is_no_batch_fails_and_says_where(openai: OpenAI) -> None:
    done = ended(openai, begun(openai, [line("a"), line("a"), {"custom_id": "b"}]))
    assert done.status == "failed"
    assert done.errors
    told = [(error.code, error.line) for error in done.errors.data or []]
    assert told == [("duplicate_custom_id", 2), ("missing_required_parameter", 3)]


@pytest.mark.usefixtures("gate")
def test_answers_are_read_while_a_batch_runs_and_kept_when_it_is_cancelled(
    talkative: OpenAI,
) -> None:
    long: dict[str, Any] = {"model": "talkative", "max_tokens": 3_000}
    lines = [line("short", model="talkative", max_tokens=2, seed=23)]
    lines += [line(f"long{number}", seed=100 + number, **long) for number in range(30)]
    batch = begun(talkative, lines)

    def is_partial(found: Batch) -> bool:
        return bool(found.request_counts and found.request_counts.completed)

    partial = seen(talkative, batch, is_partial, "the first line is written")
    assert partial.status == "in_progress"
    assert "short" in lines_of(talkative, partial.output_file_id)
    with pytest.raises(package.ConflictError):
        talkative.files.delete(partial.input_file_id)
    assert talkative.batches.cancel(batch.id).status == "cancelling"
    done = ended(talkative, batch)
    assert done.status == "cancelled"
    kept = lines_of(talkative, done.output_file_id)
    left = lines_of(talkative, done.error_file_id)
    assert "short" in kept
    assert set(kept) | set(left) == {each["custom_id"] for each in lines}
    assert not set(kept) & set(left)
    assert {each["error"]["code"] for each in left.values()} == {"batch_cancelled"}
    assert talkative.batches.cancel(batch.id).status == "cancelled"


def test_an_api_killed_again_and_again_loses_and_doubles_no_line(
    talkative: OpenAI, installation: Installation, gate: Gate
) -> None:
    patient = talkative.with_options(max_retries=10)
    # In the order in which they are answered: the gate keeps those that ask for more back.
    lengths = [2] * 60 + [8] * 140 + [14] * 500
    lines = [
        line(f"k{number}", seed=200 + number, model="talkative", max_tokens=length)
        for number, length in enumerate(lengths)
    ]
    gate.close(4)
    batch = begun(patient, lines)
    for share, tokens in ((0, 10), (120, 100)):

        def is_beyond(found: Batch, share: int = share) -> bool:
            return bool(found.request_counts and found.request_counts.completed > share)

        found = seen(patient, batch, is_beyond, f"more than {share} are answered")
        assert found.status == "in_progress"
        api = installation.process("gunicorn")
        for child in descendants(api.pid):
            os.kill(child.pid, signal.SIGKILL)
        os.kill(api.pid, signal.SIGKILL)
        eventually(lambda api=api: not api.lives, "it is dead")  # type: ignore[misc]
        gate.close(tokens)
    done = ended(patient, batch)
    assert done.status == "completed"
    assert done.request_counts
    assert (done.request_counts.completed, done.request_counts.failed) == (700, 0)
    answers = lines_of(patient, done.output_file_id)
    assert set(answers) == {each["custom_id"] for each in lines}


def test_files_and_batches_are_listed_found_and_erased(openai: OpenAI) -> None:
    sent = [openai.files.create(file=b"{}\n" * n, purpose="batch") for n in (1, 2, 3)]
    assert openai.files.retrieve(sent[1].id) == sent[1]
    assert (sent[1].bytes, sent[1].purpose, sent[1].status) == (6, "batch", "processed")
    listed = [file.id for file in openai.files.list(limit=2, purpose="batch")]
    assert listed[:3] == [file.id for file in reversed(sent)]
    batches = [begun(openai, [{}]).id for _ in range(3)]
    assert [batch.id for batch in openai.batches.list(limit=2)][:3] == batches[::-1]
    assert openai.files.delete(sent[0].id).deleted
    with pytest.raises(package.NotFoundError):
        openai.files.retrieve(sent[0].id)
    with pytest.raises(package.NotFoundError):
        openai.files.content(sent[0].id)
    with pytest.raises(package.NotFoundError):
        openai.batches.retrieve("batch_none")
    with pytest.raises(package.BadRequestError) as unknown:
        openai.batches.create(input_file_id="file-none", endpoint=ENDPOINT, completion_window="24h")
    assert unknown.value.code == "file_not_found"
