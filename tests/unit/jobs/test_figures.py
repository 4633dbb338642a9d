"""Figures of the last hour are counted by the scripts that do the work, in few keys."""

from typing import Any

import pytest

from jobs.figures import Durations, Figures, Minute
from jobs.job import Outcome, Reason, Status
from jobs.ledger import Ledger
from jobs.scripts import PREFIX
from tests.ledgers import ANSWER, Clock, asked, claimed, submitted


@pytest.fixture
def figures(client: Any, clock: Clock) -> Figures:
    """The figures, by the test's clock."""
    return Figures(client, clock)


def counts(minute: Minute) -> tuple[int, int, int, int]:
    """What a minute counted."""
    return minute.accepted, minute.succeeded, minute.failed, minute.canceled


def test_each_minute_counts_what_was_accepted_and_how_it_ended(
    ledger: Ledger, figures: Figures, clock: Clock
) -> None:
    for _ in range(4):
        submitted(ledger)
    ledger.finish(claimed(ledger), ANSWER)
    clock.forward(60_000)
    ledger.finish(claimed(ledger), Outcome(Status.FAILED, Reason.ERROR))
    ledger.cancel("acme", submitted(ledger))
    *_, before, this = figures.last_hour()
    assert counts(before) == (4, 1, 0, 0)
    assert counts(this) == (1, 0, 1, 1)
    assert (before.ended, this.ended) == (1, 2)
    assert this.at - before.at == 60_000
    assert this.at <= clock.now < this.at + 60_000


def test_waiting_is_until_the_first_claim_and_the_whole_is_until_the_answer(
    ledger: Ledger, figures: Figures, clock: Clock
) -> None:
    submitted(ledger)
    clock.forward(2_000)
    claim = claimed(ledger)
    clock.forward(8_000)
    ledger.hand_back(claim)
    ledger.finish(claimed(ledger), ANSWER)
    hour = figures.last_hour()
    waiting = Durations.together([minute.waiting for minute in hour])
    whole = Durations.together([minute.whole for minute in hour])
    assert sum(waiting.buckets.values()) == 1, "a second try has not waited anew"
    assert waiting.quantile(0.5) == pytest.approx(2_000, rel=0.1)
    assert whole.quantile(0.5) == pytest.approx(10_000, rel=0.1)


def test_who_shares_an_answer_is_counted_as_well(ledger: Ledger, figures: Figures) -> None:
    for _ in range(3):
        asked(ledger)
    ledger.finish(claimed(ledger), ANSWER)
    assert counts(figures.last_hour()[-1]) == (3, 3, 0, 0)


def test_quantiles_lie_where_they_should_and_none_is_made_of_nothing() -> None:
    assert Durations().quantile(0.5) is None
    a_bucket_each = Durations(dict.fromkeys(range(40, 60), 1))
    assert a_bucket_each.quantile(0.5) == pytest.approx(2 ** (50 / 4))
    assert a_bucket_each.quantile(0.95) == pytest.approx(2 ** (59 / 4))
    assert Durations({0: 5}).quantile(1) == pytest.approx(2**0.25)


def test_an_hour_is_sixty_minutes_and_older_ones_are_forgotten(
    client: Any, ledger: Ledger, figures: Figures, clock: Clock
) -> None:
    submitted(ledger)
    [key] = client.keys(f"{PREFIX}minute:*")
    assert 3_600_000 < client.pttl(key) <= 7_200_000
    clock.forward(59 * 60_000)
    assert sum(minute.accepted for minute in figures.last_hour()) == 1
    clock.forward(60_000)
    assert sum(minute.accepted for minute in figures.last_hour()) == 0
    assert len(figures.last_hour()) == 60


def test_by_the_stores_clock_it_is_the_same(client: Any) -> None:
    submitted(Ledger(client))
    assert sum(minute.accepted for minute in Figures(client).last_hour()[-2:]) == 1
