"""Batches in the store: a line becomes one job, a job one line of a file; nothing else stays."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.batch import MOST_OPEN, Batch, BatchLine, BatchStatus
from jobs.batches import Batches, Read, Written
from jobs.errors import BatchElsewhere, Conflict, InvalidRequest, NotFound, TooManyBatches
from jobs.files import Files
from jobs.image_store import ImageStore
from jobs.job import Outcome, Priority, Reason, Status
from jobs.ledger import Ledger
from jobs.request import ImagePart
from jobs.retrying import Retrying
from jobs.scripts import PREFIX
from tests.ledgers import (
    ANSWER,
    FAILURE,
    Clock,
    assert_counts_are_true,
    claimed,
    draft,
    everything,
    submitted,
)

PICTURE = ImagePart("d" * 64, 64, 48)
DAY = 86_400_000
FAILED = Outcome(Status.FAILED, Reason.ERROR, error=FAILURE)


@pytest.fixture
def files(client: Any, ledger: Ledger) -> Files:
    """Files that are kept for an hour."""
    return Files(client, ledger.scripts, life_ms=3_600_000, most_bytes=10**6, most_of_tenant=10**7)


@pytest.fixture
def batches(client: Any, ledger: Ledger) -> Batches:
    """The batches of the store."""
    return Batches(client, ledger.scripts)


def begin(batches: Batches, files: Files, tenant: str = "acme") -> Batch:
    """A batch that was just begun."""
    intake = files.begin(tenant)
    intake.write(b"{}\n" * 9)
    file = intake.keep("batch", "lines.jsonl")
    return batches.begin(tenant, file.id, endpoint="/", window="24h", metadata=None, keep_ms=60_000)


def running(batches: Batches, files: Files, total: int = 9) -> Batch:
    """A batch whose lines are being run."""
    batch = begin(batches, files)
    batches.validated(batch, total)
    return now(batches, batch)


def now(batches: Batches, batch: Batch) -> Batch:
    """A batch as it stands."""
    found = batches.get(batch.tenant, batch.id)
    assert found is not None
    return found


def feed(ledger: Ledger, batch: Batch, number: int, after: int | None = None) -> str:
    """The id of the job that a line has become."""
    line = BatchLine(batch.id, number, f"n{number}", number - 1 if after is None else after, 3)
    wanted = draft(
        images=(PICTURE,), group=batch.id, priority=Priority.LOW, batch=line, id=line.job_id
    )
    return ledger.submit(wanted)[0].id


@pytest.fixture
def _picture(client: Any) -> None:
    ImageStore(client).put("acme", PICTURE.digest, b"pixels")


def test_an_input_is_kept_until_the_window_is_over(
    batches: Batches, files: Files, clock: Clock
) -> None:
    batch = begin(batches, files)
    assert batch.status is BatchStatus.VALIDATING
    assert batch.expires_at == clock.now + DAY
    file = files.get("acme", batch.input_file)
    assert file is not None
    assert file.expires_at > batch.expires_at
    assert batches.get("other", batch.id) is None


def test_a_batch_needs_a_file_of_its_tenant(batches: Batches, files: Files) -> None:
    file = begin(batches, files).input_file
    wanted: dict[str, Any] = {"endpoint": "/", "window": "24h", "metadata": None, "keep_ms": 1}
    for tenant, file_id in (("other", file), ("acme", "file_none")):
        with pytest.raises(InvalidRequest):
            batches.begin(tenant, file_id, **wanted)


def test_a_tenant_has_so_many_batches_under_way_and_no_more(
    batches: Batches, files: Files, client: Any
) -> None:
    client.hset(f"{PREFIX}open-batches", "acme", MOST_OPEN - 1)
    last = begin(batches, files)
    with pytest.raises(TooManyBatches):
        begin(batches, files)
    begin(batches, files, "other")
    batches.fail(last, [{"code": "empty_file"}])
    begin(batches, files)


def test_a_batch_is_taken_by_one_feeder_until_its_lease_is_over(
    batches: Batches, files: Files, clock: Clock
) -> None:
    first, second = begin(batches, files), begin(batches, files)
    taken = [batches.take(1000), batches.take(1000)]
    assert [found[0].id for found in taken if found] == sorted((first.id, second.id))
    assert batches.take(1000) is None
    clock.forward(500)
    batches.pass_on(second, 0, 250)
    again = batches.take(1000)
    assert again is not None
    assert again[0].id == second.id
    clock.forward(600)
    lapsed = batches.take(1000)
    assert lapsed is not None
    assert lapsed[0].id == first.id


@pytest.mark.usefixtures("_picture")
def test_a_line_becomes_a_job_once_and_in_its_order(
    batches: Batches, files: Files, ledger: Ledger, client: Any
) -> None:
    batch = running(batches, files)
    first = feed(ledger, batch, 1)
    assert feed(ledger, batch, 1) == first
    for number, after in ((3, 2), (2, 0)):
        with pytest.raises(BatchElsewhere):
            feed(ledger, batch, number, after)
    feed(ledger, batch, 4, after=1)  # two lines had nothing in them
    assert now(batches, batch).line == 4
    assert ledger.queued("demo")["low"] == 2
    assert_counts_are_true(client, ledger)


@pytest.mark.usefixtures("_picture")
def test_a_line_that_is_dealt_with_does_not_come_back_when_its_job_is_gone(
    batches: Batches, files: Files, ledger: Ledger
) -> None:
    batch = running(batches, files)
    job_id = feed(ledger, batch, 1)
    ledger.erase("acme", job_id)
    with pytest.raises(BatchElsewhere):
        feed(ledger, batch, 1)
    assert batches.ended(batch, 9)[1][0].job is None


@pytest.mark.usefixtures("_picture")
def test_only_a_batch_that_is_in_progress_is_fed(
    batches: Batches, files: Files, ledger: Ledger
) -> None:
    batch = begin(batches, files)
    with pytest.raises(BatchElsewhere):
        feed(ledger, batch, 1)
    batches.validated(batch, 1)
    batches.cancel("acme", batch.id)
    with pytest.raises(BatchElsewhere):
        feed(ledger, batch, 1)


@pytest.mark.usefixtures("_picture")
def test_a_written_line_is_all_that_stays_of_a_job(
    batches: Batches, files: Files, ledger: Ledger, client: Any
) -> None:
    batch = running(batches, files)
    job_id = feed(ledger, batch, 1)
    line = Written(job_id, "output", "{}\n")
    assert batches.write(batch, [line]) == 0, "it has not ended"
    ledger.finish(claimed(ledger), ANSWER)
    out, [ended] = batches.ended(batch, 9)
    assert (out, ended.number, ended.custom_id) == (1, 1, "n1")
    assert batches.write(batch, [line, line]) == 1
    assert batches.write(batch, [line]) == 0
    assert ledger.get("acme", job_id) is None
    assert not client.keys(f"{PREFIX}image:*")
    assert not client.exists(f"{PREFIX}events:acme", f"{PREFIX}jobs:acme", f"{PREFIX}retained")
    assert batches.ended(batch, 9) == (0, [])
    assert now(batches, batch).completed == 1


@pytest.mark.usefixtures("_picture")
def test_a_picture_that_another_job_shows_stays(
    batches: Batches, files: Files, ledger: Ledger, client: Any
) -> None:
    batch = running(batches, files)
    job_id = feed(ledger, batch, 1)
    ledger.finish(claimed(ledger), ANSWER)
    submitted(ledger, images=(PICTURE,))
    batches.write(batch, [Written(job_id, "output", "{}\n")])
    assert client.keys(f"{PREFIX}image:*")


def test_lines_without_a_job_are_written_where_the_batch_is_and_nowhere_else(
    batches: Batches, files: Files
) -> None:
    batch = running(batches, files)
    lines = [Written("", "errors", "1\n"), Written("", "errors", "2\n")]
    assert batches.write(batch, lines, Read(1, 2, 6)) == 0
    assert batches.write(batch, lines, Read(0, 2, 6)) == 2
    assert batches.write(batch, lines, Read(0, 2, 6)) == 0
    seen = now(batches, batch)
    assert (seen.line, seen.offset, seen.failed) == (2, 6, 2)
    file = files.get("acme", batch.error_file)
    assert file is not None
    assert b"".join(files.content(file)) == b"1\n2\n"


def test_a_file_grows_by_parts_and_is_read_as_far_as_it_was(batches: Batches, files: Files) -> None:
    batch = running(batches, files)
    text = "x" * 700_000 + "\n"
    for number in range(4):
        batches.write(batch, [Written("", "errors", text)], Read(number, number + 1, 0))
    file = files.get("acme", batch.error_file)
    assert file is not None
    assert (file.parts, file.size) == (4, 4 * len(text))
    batches.write(batch, [Written("", "errors", "more\n")], Read(4, 5, 0))
    assert b"".join(files.content(file)).decode() == 4 * text


def test_a_batch_ends_when_each_line_is_written(
    batches: Batches, files: Files, client: Any
) -> None:
    batch = running(batches, files, total=2)
    assert batches.settle(batch) is BatchStatus.IN_PROGRESS
    lines = [Written("", "errors", "1\n"), Written("", "errors", "2\n")]
    batches.write(batch, lines, Read(0, 2, 6))
    assert batches.settle(batch) is BatchStatus.FINALIZING
    with pytest.raises(Conflict):
        batches.cancel("acme", batch.id)
    with pytest.raises(Conflict):
        files.erase("acme", batch.input_file)
    assert batches.settle(batch) is BatchStatus.COMPLETED
    assert batches.take(1000) is None
    for file_id in (batch.input_file, batch.error_file):
        assert files.erase("acme", file_id)
    assert now(batches, batch).status is BatchStatus.COMPLETED


@pytest.mark.usefixtures("_picture")
def test_cancelling_stops_every_job_that_is_out(
    batches: Batches, files: Files, ledger: Ledger, client: Any
) -> None:
    batch = running(batches, files)
    for number in (1, 2, 3):
        feed(ledger, batch, number)
    runs = claimed(ledger)
    assert batches.cancel("acme", batch.id).status is BatchStatus.CANCELLING
    assert ledger.queued("demo")["low"] == 0
    assert ledger.renew("w1", "demo", {}, {runs.job.id: runs.fence}).unwanted == {runs.job.id}
    assert {each.number for each in batches.ended(batch, 9)[1]} == {2, 3}
    assert batches.settle(batch) is BatchStatus.CANCELLING
    assert_counts_are_true(client, ledger)


@pytest.mark.usefixtures("_picture")
def test_an_answer_is_not_swept_away_before_it_is_written(
    batches: Batches, files: Files, ledger: Ledger, clock: Clock
) -> None:
    batch = running(batches, files)
    job_id = feed(ledger, batch, 1)
    ledger.finish(claimed(ledger), ANSWER)
    for _ in range(3):
        clock.forward(DAY)
        ledger.sweep()
    [ended] = batches.ended(batch, 9)[1]
    assert ended.job is not None
    assert ended.job.answer == ANSWER.answer
    batches.write(batch, [Written(job_id, "output", "{}\n")])
    assert ledger.get("acme", job_id) is None


@pytest.mark.usefixtures("_picture")
def test_a_line_that_is_asked_again_stays_a_line_of_its_batch(
    client: Any, ledger: Ledger, batches: Batches, files: Files
) -> None:
    batch = running(batches, files)
    first = feed(ledger, batch, 1)
    ledger.finish(claimed(ledger), FAILED)
    found = Retrying(client, ledger).retry("acme", first)
    assert found is not None
    assert batches.ended(batch, 10) == (1, [])
    ledger.finish(claimed(ledger), ANSWER)
    [ended] = batches.ended(batch, 10)[1]
    assert (ended.job_id, ended.number, ended.custom_id) == (found.id, 1, "n1")
    assert batches.write(batch, [Written(first, "errors", "{}\n")]) == 0
    assert batches.write(batch, [Written(ended.job_id, "output", "{}\n")]) == 1
    assert (now(batches, batch).completed, now(batches, batch).failed) == (1, 0)


@pytest.mark.usefixtures("_picture")
def test_a_line_whose_second_job_was_erased_at_once_ends_as_its_first_did(
    client: Any, ledger: Ledger, batches: Batches, files: Files
) -> None:
    batch = running(batches, files)
    first = feed(ledger, batch, 1)
    ledger.finish(claimed(ledger), FAILED)
    ledger.scripts.run("retried", first, "acme", "job_erased")
    assert not client.exists(f"{PREFIX}job:job_erased")
    [ended] = batches.ended(batch, 10)[1]
    assert ended.job_id == first


@pytest.mark.usefixtures("_picture")
def test_a_batch_that_is_being_stopped_waits_for_no_line_that_is_asked_again(
    client: Any, ledger: Ledger, batches: Batches, files: Files
) -> None:
    batch = running(batches, files)
    first = feed(ledger, batch, 1)
    ledger.finish(claimed(ledger), FAILED)
    batches.cancel("acme", batch.id)
    Retrying(client, ledger).retry("acme", first)
    [ended] = batches.ended(batch, 10)[1]
    assert ended.job_id == first


@pytest.mark.usefixtures("_picture")
def test_a_batch_of_which_nothing_ends_is_left_alone_until_something_does(
    batches: Batches, files: Files, ledger: Ledger, clock: Clock
) -> None:
    batch = running(batches, files)
    feed(ledger, batch, 1)
    assert batches.take(1000)
    batches.pass_on(batch, 60_000, 250)
    clock.forward(59_000)
    assert batches.take(1000) is None
    ledger.finish(claimed(ledger), ANSWER)
    clock.forward(249)
    assert batches.take(1000) is None, "what ends meanwhile is written with it"
    clock.forward(1)
    assert batches.take(1000)


@pytest.mark.usefixtures("_picture")
def test_what_ends_while_a_feeder_has_the_batch_gives_it_to_no_other_one_and_is_seen_next(
    batches: Batches, files: Files, ledger: Ledger, clock: Clock
) -> None:
    batch = running(batches, files)
    feed(ledger, batch, 1)
    assert batches.take(1000)
    ledger.finish(claimed(ledger), ANSWER)
    clock.forward(999)
    assert batches.take(1000) is None
    batches.pass_on(batch, 60_000, 250)
    clock.forward(250)
    assert batches.take(1000)


@pytest.mark.usefixtures("_picture")
def test_a_line_that_was_retried_is_answered_also_where_that_ended_at_once(
    batches: Batches, files: Files, ledger: Ledger
) -> None:
    batch = running(batches, files)
    failed = feed(ledger, batch, 1)
    ledger.finish(claimed(ledger), FAILED)
    again = submitted(ledger)
    ledger.finish(claimed(ledger), ANSWER)
    ledger.scripts.run("retried", failed, "acme", again)
    assert [each.job_id for each in batches.ended(batch, 9)[1]] == [again]


@pytest.mark.usefixtures("_picture")
def test_looking_for_what_has_ended_costs_as_much_with_fifty_jobs_out_as_with_one(
    batches: Batches, files: Files, ledger: Ledger, client: Any
) -> None:
    batch = running(batches, files, total=60)

    def cost() -> int:
        before = _commands(client)
        assert batches.ended(batch, 50)[1] == []
        return _commands(client) - before

    feed(ledger, batch, 1)
    alone = cost()
    for number in range(2, 51):
        feed(ledger, batch, number)
    assert cost() == alone


def _commands(client: Any) -> int:
    stats = client.info("commandstats")
    return sum(int(each["calls"]) for name, each in stats.items() if name != "cmdstat_info")


@pytest.mark.usefixtures("_picture")
def test_what_an_older_program_ended_and_told_nobody_is_found_within_a_minute(
    batches: Batches, files: Files, ledger: Ledger, clock: Clock, client: Any
) -> None:
    batch = running(batches, files)
    job_id = feed(ledger, batch, 1)
    ledger.finish(claimed(ledger), ANSWER)
    client.delete(f"{PREFIX}batch-ended:{batch.id}")
    assert batches.ended(batch, 9) == (1, [])
    clock.forward(60_000)
    assert [each.job_id for each in batches.ended(batch, 9)[1]] == [job_id]


@pytest.mark.usefixtures("_picture")
def test_what_an_older_program_wrote_is_not_written_again(
    batches: Batches, files: Files, ledger: Ledger, client: Any
) -> None:
    batch = running(batches, files)
    job_id = feed(ledger, batch, 1)
    ledger.finish(claimed(ledger), ANSWER)
    client.hdel(f"{PREFIX}batch-jobs:{batch.id}", job_id)
    assert batches.ended(batch, 9) == (0, [])
    assert not client.exists(f"{PREFIX}batch-ended:{batch.id}")


@pytest.mark.usefixtures("_picture")
def test_the_jobs_of_a_batch_that_fails_are_stopped(
    batches: Batches, files: Files, ledger: Ledger, client: Any
) -> None:
    batch = running(batches, files)
    jobs = [feed(ledger, batch, number) for number in (1, 2)]
    running_one = claimed(ledger)
    batches.fail(batch, [{"code": "line_too_large"}])
    waiting, held = ledger.get("acme", jobs[1]), ledger.get("acme", running_one.job.id)
    assert waiting is not None
    assert waiting.status is Status.CANCELED
    assert held is not None
    assert held.cancel_requested_at is not None
    ledger.finish(running_one, Outcome(Status.CANCELED))
    assert not client.keys(f"{PREFIX}batch-jobs:*")
    assert not client.keys(f"{PREFIX}batch-ended:*")
    assert_counts_are_true(client, ledger)


@pytest.mark.usefixtures("_picture")
def test_finished_lines_are_written_away_where_the_store_has_no_memory_left(
    batches: Batches, files: Files, ledger: Ledger, client: Any
) -> None:
    batch = running(batches, files)
    job_id = feed(ledger, batch, 1)
    ledger.finish(claimed(ledger), ANSWER)
    client.config_set("maxmemory", 1)
    try:
        assert batches.take(1000)
        assert [each.job_id for each in batches.ended(batch, 9)[1]] == [job_id]
        assert batches.write(batch, [Written(job_id, "output", "{}\n")]) == 1
        batches.pass_on(batch, 0, 250)
    finally:
        client.config_set("maxmemory", 0)


def test_of_an_erased_batch_nothing_is_left_but_its_input(
    batches: Batches, files: Files, client: Any
) -> None:
    batch = running(batches, files, total=2)
    lines = [Written("", "output", "1\n"), Written("", "errors", "2\n")]
    batches.write(batch, lines, Read(0, 2, 6))
    batches.settle(batch)
    batches.settle(batch)
    batches.erase("acme", batch.id)
    left = repr(everything(client))
    assert not [name for name in (batch.id, batch.output_file, batch.error_file) if name in left]
    assert not client.keys(f"{PREFIX}batch*")
    page = files.page("acme", limit=9, after=None, ascending=False, purpose=None)
    assert page is not None
    assert [file.id for file in page[0]] == [batch.input_file]
    with pytest.raises(NotFound):
        batches.erase("acme", batch.id)
    assert files.erase("acme", batch.input_file)
    assert not client.keys(f"{PREFIX}*files*")


def test_a_batch_that_has_not_ended_is_not_erased(
    batches: Batches, files: Files, client: Any
) -> None:
    batch = begin(batches, files)

    def refused_in(status: BatchStatus) -> None:
        assert now(batches, batch).status is status
        before = client.hgetall(f"{PREFIX}batch:{batch.id}")
        with pytest.raises(Conflict) as refused:
            batches.erase("acme", batch.id)
        assert refused.value.code == "batch_open"
        assert client.hgetall(f"{PREFIX}batch:{batch.id}") == before

    refused_in(BatchStatus.VALIDATING)
    batches.validated(batch, 1)
    refused_in(BatchStatus.IN_PROGRESS)
    batches.cancel("acme", batch.id)
    refused_in(BatchStatus.CANCELLING)
    batches.write(batch, [Written("", "errors", "1\n")], Read(0, 1, 3))
    assert batches.settle(batch) is BatchStatus.CANCELLED
    batches.erase("acme", batch.id)


def test_a_batch_that_is_being_finished_is_not_erased(batches: Batches, files: Files) -> None:
    batch = running(batches, files, total=0)
    assert batches.settle(batch) is BatchStatus.FINALIZING
    with pytest.raises(Conflict):
        batches.erase("acme", batch.id)
    assert batches.settle(batch) is BatchStatus.COMPLETED
    batches.erase("acme", batch.id)


def test_a_feeder_that_has_an_erased_batch_still_brings_nothing_of_it_back(
    batches: Batches, files: Files, client: Any
) -> None:
    batch = running(batches, files, total=1)
    batches.fail(batch, [{"code": "invalid_json_line"}])
    batches.erase("acme", batch.id)
    before = everything(client)
    assert batches.write(batch, [Written("", "output", "1\n")], Read(0, 1, 3)) == 0
    batches.validated(batch, 1)
    batches.settle(batch)
    batches.fail(batch, [])
    batches.expire(batch)
    batches.pass_on(batch, 0, 0)
    assert batches.take(1000) is None
    assert everything(client) == before


def test_another_tenants_batch_is_not_erased(batches: Batches, files: Files, client: Any) -> None:
    batch = begin(batches, files)
    batches.fail(batch, [])
    before = everything(client)
    with pytest.raises(NotFound):
        batches.erase("other", batch.id)
    assert everything(client) == before
