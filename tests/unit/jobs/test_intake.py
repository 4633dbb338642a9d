"""The intake is paused for a tenant or for all, and what was accepted goes on."""

import contextlib
import threading
from typing import Any

import pytest

from jobs.errors import ConfigurationError, IntakePaused
from jobs.intake import Intake, Pauses
from jobs.ledger import Ledger
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.ledgers import ANSWER, Clock, asked, claimed, draft, status_of, submitted, the_same


@pytest.fixture
def intake(client: Any, ledger: Ledger) -> Intake:
    """The intake of the ledger."""
    return Intake(client, ledger.scripts)


def test_a_paused_intake_accepts_nothing_and_says_when_to_try_again(
    intake: Intake, ledger: Ledger
) -> None:
    intake.pause()
    with pytest.raises(IntakePaused) as refused:
        submitted(ledger)
    assert (refused.value.status, refused.value.code) == (503, "paused")
    assert refused.value.retry_after
    intake.resume()
    submitted(ledger)


def test_what_was_accepted_before_a_pause_goes_on(intake: Intake, ledger: Ledger) -> None:
    job_id = submitted(ledger)
    intake.pause()
    ledger.finish(claimed(ledger), ANSWER)
    assert status_of(ledger, job_id) == ("succeeded", None)


def test_who_repeats_a_request_that_was_accepted_is_answered_during_a_pause(
    intake: Intake, ledger: Ledger
) -> None:
    first, _ = ledger.submit(draft(idempotency_key="k", fingerprint="f"))
    intake.pause()
    assert ledger.submit(draft(idempotency_key="k", fingerprint="f")) == (first, True)


def test_an_answer_that_is_there_is_not_handed_out_during_a_pause_either(
    intake: Intake, ledger: Ledger
) -> None:
    asked(ledger)
    ledger.finish(claimed(ledger), ANSWER)
    intake.pause()
    with pytest.raises(IntakePaused):
        ledger.submit(the_same())


def test_one_tenant_is_paused_and_the_others_are_not(intake: Intake, ledger: Ledger) -> None:
    intake.pause("acme")
    with pytest.raises(IntakePaused):
        submitted(ledger, "acme")
    submitted(ledger, "other")


def test_a_tenants_own_pause_outlives_that_of_all(
    intake: Intake, ledger: Ledger, clock: Clock
) -> None:
    intake.pause("acme")
    paused_at = clock.now
    clock.forward(1000)
    intake.pause("acme")
    intake.pause()
    assert intake.pauses() == Pauses(clock.now, {"acme": paused_at})
    intake.resume()
    assert intake.pauses() == Pauses(None, {"acme": paused_at})
    with pytest.raises(IntakePaused):
        submitted(ledger, "acme")


def test_what_cannot_be_a_tenant_cannot_be_paused(intake: Intake) -> None:
    for name in ("*", "", "a b"):
        with pytest.raises(ConfigurationError, match="name"):
            intake.pause(name)


def test_no_job_gets_in_once_a_pause_is_confirmed(store: EmbeddedStore, client: Any) -> None:
    ledger = Ledger(client)
    is_paused, late, tried = threading.Event(), [], threading.Barrier(5)

    def submit() -> None:
        with contextlib.closing(connect(store.url)) as own:
            mine = Ledger(own, durability="memory")
            tried.wait()
            while True:
                began_late = is_paused.is_set()
                try:
                    job_id = submitted(mine)
                except IntakePaused:
                    return
                if began_late:
                    late.append(job_id)
                    return

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    tried.wait()
    Intake(client, ledger.scripts).pause()
    is_paused.set()
    for thread in threads:
        thread.join()
    assert late == []
