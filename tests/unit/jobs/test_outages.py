"""What the ledger makes of replies that were lost, outages, and workers that break down."""

import contextlib
from typing import Any

import pytest

from jobs.errors import LedgerFull
from jobs.hints import Hints, celery_app
from jobs.image_store import ImageStore
from jobs.ledger import Ledger
from jobs.scripts import PREFIX
from jobs.sweeper import Sweeper
from tests.conftest import NewLedger
from tests.ledgers import (
    ANSWER,
    MODEL,
    Clock,
    assert_counts_are_true,
    claimed,
    draft,
    events,
    now,
    status_of,
    submitted,
)

LEASE = 30_000
HOUR = 3_600_000


def outcomes(ledger: Ledger, job_id: str) -> list[str | None]:
    """How each attempt at a job went."""
    job = ledger.get("acme", job_id)
    assert job is not None
    return [attempt.outcome for attempt in job.attempts]


def test_a_job_whose_claim_was_not_heard_goes_back_uncharged_within_a_lease(
    client: Any, ledger: Ledger, clock: Clock
) -> None:
    job_id = submitted(ledger)
    unheard = claimed(ledger)
    clock.forward(LEASE // 2 - 1)
    ledger.renew("w1", MODEL, {}, {})
    assert status_of(ledger, job_id) == ("processing", None)
    clock.forward(1)
    ledger.renew("w1", MODEL, {}, {})
    assert status_of(ledger, job_id) == ("queued", None)
    assert outcomes(ledger, job_id) == ["unheard"]
    assert_counts_are_true(client, ledger)

    again = claimed(ledger, "w2")
    assert not ledger.finish(unheard, ANSWER)
    assert ledger.finish(again, ANSWER)


def test_a_job_that_its_worker_names_stays_with_it(ledger: Ledger, clock: Clock) -> None:
    job_id = submitted(ledger)
    claim = claimed(ledger)
    clock.forward(LEASE - 1)
    ledger.renew("w1", MODEL, {}, {job_id: claim.fence})
    assert status_of(ledger, job_id) == ("processing", None)


def test_a_job_that_another_worker_holds_is_not_given_back_by_this_one(
    ledger: Ledger, clock: Clock
) -> None:
    job_id = submitted(ledger)
    claimed(ledger, "w2")
    clock.forward(LEASE - 1)
    ledger.renew("w1", MODEL, {}, {})
    assert status_of(ledger, job_id) == ("processing", None)


def test_a_canceled_job_whose_claim_was_not_heard_ends(ledger: Ledger, clock: Clock) -> None:
    job_id = submitted(ledger)
    claimed(ledger)
    ledger.cancel("acme", job_id)
    clock.forward(LEASE // 2)
    ledger.renew("w1", MODEL, {}, {})
    assert status_of(ledger, job_id) == ("canceled", "canceled")


def test_after_an_outage_workers_get_the_time_to_renew(ledger: Ledger, clock: Clock) -> None:
    job_id = submitted(ledger)
    claim = claimed(ledger)
    ledger.sweep(spare_after_ms=LEASE // 2)
    clock.forward(10 * LEASE)
    assert ledger.sweep(spare_after_ms=LEASE // 2).leases_expired == 0
    clock.forward(LEASE // 2)
    ledger.renew("w1", MODEL, {}, {job_id: claim.fence})
    ledger.sweep(spare_after_ms=LEASE)
    assert ledger.finish(claim, ANSWER)


def test_a_worker_that_did_not_outlive_the_outage_loses_its_jobs(
    ledger: Ledger, clock: Clock
) -> None:
    job_id = submitted(ledger)
    claimed(ledger)
    ledger.sweep(spare_after_ms=LEASE // 2)
    clock.forward(10 * LEASE)
    ledger.sweep(spare_after_ms=LEASE // 2)
    for _ in range(4):
        clock.forward(LEASE // 4)
        ledger.sweep(spare_after_ms=LEASE // 2)
    assert status_of(ledger, job_id) == ("queued", None)
    assert outcomes(ledger, job_id) == ["lease_expired"]


def test_while_sweeps_go_on_a_silent_workers_lease_expires_in_time(
    ledger: Ledger, clock: Clock
) -> None:
    job_id = submitted(ledger)
    claimed(ledger)
    for _ in range(4):
        ledger.sweep(spare_after_ms=LEASE // 2)
        clock.forward(LEASE // 4)
    assert ledger.sweep(spare_after_ms=LEASE // 2).leases_expired == 1
    assert status_of(ledger, job_id) == ("queued", None)


def test_a_lease_of_before_the_clock_went_back_lasts_no_longer_than_one_from_now(
    ledger: Ledger, clock: Clock
) -> None:
    clock.forward(HOUR)
    job_id = submitted(ledger)
    claimed(ledger)
    ledger.sweep(spare_after_ms=LEASE // 2)
    clock.forward(-HOUR)
    assert ledger.sweep(spare_after_ms=LEASE // 2).leases_expired == 0
    for _ in range(3):
        clock.forward(LEASE // 3)
        ledger.sweep(spare_after_ms=LEASE // 2)
    assert status_of(ledger, job_id) == ("queued", None)


def test_who_led_the_sweep_before_the_clock_went_back_is_followed_by_another(
    client: Any, ledger: Ledger
) -> None:
    ledger.sweep(sweeper="gone", lead_ms=3_000)
    client.pexpire(f"{PREFIX}sweeper", HOUR)
    ledger.sweep(sweeper="another", lead_ms=3_000)
    assert client.get(f"{PREFIX}sweeper") == b"another"


def test_a_worker_that_breaks_down_says_so_and_its_jobs_are_suspects_at_once(
    client: Any, ledger: Ledger
) -> None:
    job_id = submitted(ledger)
    claim = claimed(ledger)
    assert ledger.crash(claim, "engine_stalled")
    assert not ledger.crash(claim, "engine_stalled")
    assert ledger.queued(MODEL) == {"normal": 0, "suspect": 1}
    assert outcomes(ledger, job_id) == ["engine_stalled"]
    assert_counts_are_true(client, ledger)


def test_at_the_third_breakdown_a_job_is_poison(ledger: Ledger) -> None:
    job_id = submitted(ledger)
    for _ in range(3):
        ledger.crash(claimed(ledger), "engine_stalled")
    assert status_of(ledger, job_id) == ("failed", "poison")


@pytest.fixture
def limited(client: Any) -> Any:
    """A store with a limit on its memory, which it is far below."""
    limit = client.info("memory")["used_memory"] * 4
    client.config_set("maxmemory", limit)
    yield limit
    client.config_set("maxmemory", 0)


@pytest.mark.usefixtures("limited")
def test_a_store_that_is_fuller_than_it_may_be_accepts_nothing_and_goes_on_with_the_rest(
    client: Any, new_ledger: NewLedger
) -> None:
    ledger = new_ledger(memory_percent=1)
    job_id = submitted(ledger)
    assert ledger.sweep().memory_is_full
    with pytest.raises(LedgerFull) as refused:
        submitted(ledger)
    assert refused.value.retry_after
    with pytest.raises(LedgerFull):
        ImageStore(client).put("acme", "d" * 64, b"pixels")
    assert ledger.finish(claimed(ledger), ANSWER)
    assert status_of(ledger, job_id) == ("succeeded", None)

    assert not new_ledger(memory_percent=99).sweep().memory_is_full
    assert submitted(ledger)


def test_a_store_without_a_limit_is_never_full(client: Any, new_ledger: NewLedger) -> None:
    client.config_set("maxmemory", 0)
    ledger = new_ledger(memory_percent=1)
    assert not ledger.sweep().memory_is_full
    assert submitted(ledger)


def test_with_no_memory_left_at_all_running_jobs_still_end_and_waiting_ones_are_claimed(
    client: Any, ledger: Ledger, limited: int
) -> None:
    first, second = submitted(ledger), submitted(ledger)
    claim = claimed(ledger)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(LedgerFull):
            submitted(ledger)
        assert ledger.finish(claim, ANSWER)
        assert ledger.finish(claimed(ledger), ANSWER)
        ledger.renew("w1", MODEL, {}, {})
        ledger.sweep()
        assert ledger.erase("acme", first)
    finally:
        client.config_set("maxmemory", limited)
    assert status_of(ledger, second) == ("succeeded", None)


def test_with_no_memory_left_the_sweeper_still_repairs_and_makes_room(
    client: Any, new_ledger: NewLedger, clock: Clock, limited: int
) -> None:
    ledger = new_ledger(retention=1_000)
    ended, running = submitted(ledger), submitted(ledger)
    ledger.finish(claimed(ledger), ANSWER)
    claimed(ledger)
    client.config_set("maxmemory", 1)
    try:
        with contextlib.closing(Hints(celery_app("redis://127.0.0.1:1/0"), client)) as hints:
            clock.forward(LEASE)
            Sweeper(ledger, hints, interval_ms=1_000, spare_after_ms=0).sweep()
    finally:
        client.config_set("maxmemory", limited)
    assert outcomes(ledger, running) == ["lease_expired"]
    assert ledger.get("acme", ended) is None


@pytest.mark.parametrize("state", ["queued", "suspect", "delayed", "running", "succeeded"])
def test_of_an_erased_job_nothing_stays_wherever_it_stood(
    client: Any, new_ledger: NewLedger, state: str
) -> None:
    ledger = new_ledger()
    job_id = submitted(ledger, group="t", idempotency_key="k")
    claim = claimed(ledger) if state != "queued" else None
    if claim and state == "suspect":
        ledger.crash(claim, "engine_stalled")
    if claim and state == "delayed":
        ledger.retry(claim, 60_000, {"code": "x", "message": "y"})
    if claim and state == "succeeded":
        ledger.finish(claim, ANSWER)

    assert ledger.erase("acme", job_id)

    assert ledger.get("acme", job_id) is None
    assert [key for key in client.scan_iter() if job_id.encode() in (client.dump(key) or b"")] == []
    assert events(client) == []
    assert_counts_are_true(client, ledger)
    assert not (claim and ledger.finish(claim, ANSWER))
    assert not ledger.erase("acme", job_id)


def test_another_tenants_job_is_not_erased(ledger: Ledger) -> None:
    job_id = submitted(ledger)
    assert not ledger.erase("other", job_id)
    assert status_of(ledger, job_id) == ("queued", None)


def test_erasing_a_leader_has_its_followers_run_for_themselves(ledger: Ledger) -> None:
    asked: dict[str, Any] = {"conversation": draft().conversation}
    leader, _ = ledger.submit(draft(**asked))
    follower, _ = ledger.submit(draft(**asked))
    assert follower.deduplicated_from == leader.id
    ledger.erase("acme", leader.id)
    assert claimed(ledger).job.id == follower.id
    assert now(ledger, follower).deduplicated_from is None


def test_an_erased_answer_is_nobodys_any_more(ledger: Ledger) -> None:
    asked: dict[str, Any] = {"conversation": draft().conversation}
    job_id = submitted(ledger, **asked)
    ledger.finish(claimed(ledger), ANSWER)
    ledger.erase("acme", job_id)
    again, _ = ledger.submit(draft(**asked))
    assert (again.status, again.deduplicated_from) == ("queued", None)
