"""What the ledger accepts, and to whom it shows it."""

import re
from typing import Any

import pytest

from jobs.errors import IdempotencyMismatch, ImageExpired, LedgerFull, TenantQueueFull
from jobs.image_store import ImageStore
from jobs.job import Priority, Status
from jobs.ledger import Ledger
from jobs.request import Conversation, ImagePart, Parameters, Turn
from jobs.scripts import PREFIX
from tests.conftest import NewLedger
from tests.ledgers import (
    ANSWER,
    MODEL,
    Clock,
    assert_counts_are_true,
    claimed,
    draft,
    everything,
    submitted,
)

PICTURE = ImagePart("d" * 64, 64, 48)
HOUR = 3_600_000


def test_an_accepted_job_reads_back_as_it_was_submitted(ledger: Ledger, clock: Clock) -> None:
    conversation = Conversation(
        (Turn("user", ("Was ist das?",)), Turn("assistant", ("屏幕",)), Turn("user", ("Sure?",)))
    )
    asked = draft(
        conversation=conversation,
        parameters=Parameters(17, 0.5, 0.9),
        priority=Priority.HIGH,
        deadline_ms=30_000,
        group="ticket-1",
        metadata={"a": [1, None, "ü"]},
    )

    job, replayed = ledger.submit(asked)

    assert not replayed
    assert ledger.get("acme", job.id) == job
    assert (job.id, job.tenant, job.model, job.status) == (asked.id, "acme", MODEL, Status.QUEUED)
    assert (job.conversation, job.parameters) == (conversation, asked.parameters)
    assert (job.priority, job.group) == (Priority.HIGH, "ticket-1")
    assert job.metadata == {"a": [1, None, "ü"]}
    assert (job.created_at, job.due_at, job.has_deadline) == (clock.now, clock.now + 30_000, True)
    assert (job.started_at, job.finished_at, job.answer, job.attempts) == (None, None, None, ())


def test_ids_are_a_prefix_and_128_random_bits() -> None:
    ids = {draft().id for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(r"job_[0-9a-f]{32}", job_id) for job_id in ids)


def test_a_job_is_shown_to_its_tenant_alone(ledger: Ledger) -> None:
    job_id = submitted(ledger, "acme")
    assert ledger.get("other", job_id) is None
    assert ledger.get("acme", "job_" + "0" * 32) is None


def test_without_a_deadline_a_job_has_the_lifetime_of_the_queue(
    new_ledger: NewLedger, clock: Clock
) -> None:
    job, _ = new_ledger(queue_lifetime=HOUR).submit(draft())
    assert (job.due_at, job.has_deadline) == (clock.now + HOUR, False)


def test_a_deadline_beyond_the_lifetime_of_the_queue_does_not_prolong_it(
    new_ledger: NewLedger, clock: Clock
) -> None:
    job, _ = new_ledger(queue_lifetime=HOUR).submit(draft(deadline_ms=5 * HOUR))
    assert job.due_at == clock.now + HOUR


def test_the_same_idempotency_key_and_body_give_the_first_job_again(
    client: Any, ledger: Ledger
) -> None:
    first, _ = ledger.submit(draft(idempotency_key="k", fingerprint="f"))

    second, replayed = ledger.submit(draft(idempotency_key="k", fingerprint="f"))

    assert replayed
    assert second == first
    assert ledger.queued(MODEL)["normal"] == 1
    assert_counts_are_true(client, ledger)


def test_an_idempotency_key_gives_its_job_also_when_that_has_ended(ledger: Ledger) -> None:
    first, _ = ledger.submit(draft(idempotency_key="k", fingerprint="f"))
    ledger.finish(claimed(ledger), ANSWER)

    again, replayed = ledger.submit(draft(idempotency_key="k", fingerprint="f"))

    assert replayed
    assert (again.id, again.status) == (first.id, Status.SUCCEEDED)


def test_an_idempotency_key_with_another_body_is_refused_and_stores_nothing(
    client: Any, ledger: Ledger
) -> None:
    ledger.submit(draft(idempotency_key="k", fingerprint="f"))
    before = everything(client)

    with pytest.raises(IdempotencyMismatch) as refused:
        ledger.submit(draft(idempotency_key="k", fingerprint="another"))

    assert (refused.value.status, refused.value.code) == (422, "idempotency_mismatch")
    assert everything(client) == before


def test_idempotency_keys_of_two_tenants_have_nothing_to_do_with_each_other(
    ledger: Ledger,
) -> None:
    first, _ = ledger.submit(draft("acme", idempotency_key="k", fingerprint="f"))
    second, replayed = ledger.submit(draft("other", idempotency_key="k", fingerprint="g"))
    assert not replayed
    assert first.id != second.id


def test_a_tenant_over_its_queue_limit_is_refused_while_others_are_not(
    client: Any, new_ledger: NewLedger
) -> None:
    ledger = new_ledger(tenant_queue=2)
    submitted(ledger, "acme")
    submitted(ledger, "acme")
    before = everything(client)

    with pytest.raises(TenantQueueFull) as refused:
        submitted(ledger, "acme")

    assert (refused.value.status, refused.value.code) == (429, "tenant_queue_full")
    assert refused.value.retry_after
    assert everything(client) == before
    assert submitted(ledger, "other")


def test_a_running_job_is_no_part_of_its_tenants_queue(new_ledger: NewLedger) -> None:
    ledger = new_ledger(tenant_queue=1)
    submitted(ledger)
    claimed(ledger)
    assert submitted(ledger)


def test_a_full_ledger_refuses_every_tenant(client: Any, new_ledger: NewLedger) -> None:
    ledger = new_ledger(queue=2)
    submitted(ledger, "acme")
    submitted(ledger, "other")
    before = everything(client)

    with pytest.raises(LedgerFull) as refused:
        submitted(ledger, "third")

    assert (refused.value.status, refused.value.code) == (503, "ledger_full")
    assert refused.value.retry_after
    assert everything(client) == before


def test_an_idempotent_repeat_is_answered_also_where_the_queue_is_full(
    new_ledger: NewLedger,
) -> None:
    ledger = new_ledger(tenant_queue=1)
    first, _ = ledger.submit(draft(idempotency_key="k", fingerprint="f"))
    assert ledger.submit(draft(idempotency_key="k", fingerprint="f")) == (first, True)


def test_a_job_whose_picture_is_not_kept_is_refused_and_stores_nothing(
    client: Any, ledger: Ledger
) -> None:
    with pytest.raises(ImageExpired) as refused:
        submitted(ledger, images=(PICTURE,))
    assert (refused.value.status, refused.value.code) == (422, "image_expired")
    assert everything(client) == {}


def test_a_picture_that_comes_with_a_job_is_kept_with_it_and_as_long(
    client: Any, new_ledger: NewLedger
) -> None:
    ledger = new_ledger(queue_lifetime=2 * HOUR, retention=3 * HOUR)
    submitted(ledger, images=(PICTURE,), pictures={PICTURE.digest: b"pixels"})
    assert ImageStore(client).get("acme", PICTURE.digest) == b"pixels"
    assert 5 * HOUR - 60_000 < client.pttl(f"{PREFIX}image:acme:{PICTURE.digest}") <= 5 * HOUR


def test_a_picture_that_comes_with_another_job_is_there_already_and_prolonged(
    client: Any, new_ledger: NewLedger
) -> None:
    with_it: dict[str, Any] = {"images": (PICTURE,), "pictures": {PICTURE.digest: b"pixels"}}
    submitted(new_ledger(queue_lifetime=HOUR, retention=HOUR), **with_it)
    submitted(new_ledger(queue_lifetime=HOUR, retention=2 * HOUR), **with_it)
    submitted(new_ledger(queue_lifetime=HOUR, retention=HOUR), **with_it)
    assert client.pttl(f"{PREFIX}image:acme:{PICTURE.digest}") > 3 * HOUR - 60_000


def test_no_picture_is_kept_of_a_job_that_is_refused(client: Any, new_ledger: NewLedger) -> None:
    missing = ImagePart("e" * 64, 64, 48)
    with pytest.raises(ImageExpired):
        submitted(new_ledger(), images=(PICTURE, missing), pictures={PICTURE.digest: b"pixels"})
    with pytest.raises(LedgerFull):
        submitted(new_ledger(queue=0), images=(PICTURE,), pictures={PICTURE.digest: b"pixels"})
    assert everything(client) == {}


def test_a_picture_of_one_tenant_is_none_of_another(client: Any, ledger: Ledger) -> None:
    images = ImageStore(client)
    images.put("acme", PICTURE.digest, b"pixels")
    with pytest.raises(ImageExpired):
        submitted(ledger, "other", images=(PICTURE,))
    with pytest.raises(ImageExpired):
        images.get("other", PICTURE.digest)


def test_a_picture_outlives_every_job_that_shows_it(client: Any, new_ledger: NewLedger) -> None:
    ledger = new_ledger(queue_lifetime=2 * HOUR, retention=3 * HOUR)
    images = ImageStore(client, first_life_ms=600_000)
    images.put("acme", PICTURE.digest, b"pixels")
    key = f"{PREFIX}image:acme:{PICTURE.digest}"
    assert client.pttl(key) <= 600_000

    submitted(ledger, images=(PICTURE,))

    assert 5 * HOUR - 60_000 < client.pttl(key) <= 5 * HOUR
    assert images.get("acme", PICTURE.digest) == b"pixels"


def test_neither_a_shorter_job_nor_another_upload_shortens_a_pictures_life(
    client: Any, new_ledger: NewLedger
) -> None:
    images = ImageStore(client, first_life_ms=600_000)
    images.put("acme", PICTURE.digest, b"pixels")
    submitted(new_ledger(queue_lifetime=HOUR, retention=HOUR), images=(PICTURE,))

    submitted(new_ledger(queue_lifetime=HOUR, retention=1_000), images=(PICTURE,), deadline_ms=1)
    images.put("acme", PICTURE.digest, b"pixels")

    assert client.pttl(f"{PREFIX}image:acme:{PICTURE.digest}") > 2 * HOUR - 60_000


def test_an_upload_alone_prolongs_a_picture_that_is_about_to_go(client: Any) -> None:
    ImageStore(client, first_life_ms=5_000).put("acme", PICTURE.digest, b"pixels")
    ImageStore(client, first_life_ms=600_000).put("acme", PICTURE.digest, b"pixels")
    assert client.pttl(f"{PREFIX}image:acme:{PICTURE.digest}") > 590_000


def test_no_log_of_the_stores_keeps_the_question_of_a_job_with_large_pictures(
    ledger: Ledger, client: Any
) -> None:
    asked = Conversation((Turn("user", ("canary?", PICTURE)),))
    ledger.submit(draft(conversation=asked, pictures={PICTURE.digest: bytes(1_100_000)}))
    assert "canary" not in repr(client.execute_command("COMMANDLOG", "GET", -1, "large-request"))
