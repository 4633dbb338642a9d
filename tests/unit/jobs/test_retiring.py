"""A model that nobody serves or asks for any more is forgotten with all that is counted of it."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from jobs.hints import Hints, celery_app
from jobs.ledger import Ledger
from jobs.scripts import PREFIX
from jobs.sweeper import Sweeper
from llava_jobs.embedded import EmbeddedStore
from tests.ledgers import ANSWER, MODEL, Clock, claimed, submitted

MONTH = 30 * 86_400_000
HOUR_S = 3_600


def used(ledger: Ledger) -> None:
    """Have a worker answer a job of the model."""
    ledger.renew("w1", MODEL, {}, {})
    submitted(ledger)
    ledger.finish(claimed(ledger), ANSWER)


def retired(ledger: Ledger) -> bool:
    """Whether the model was forgotten."""
    return bool(ledger.scripts.run("retire", MODEL, MONTH))


def test_a_model_goes_a_month_after_its_last_claim(
    client: Any, ledger: Ledger, clock: Clock
) -> None:
    used(ledger)
    client.hset(f"{PREFIX}ended", "succeeded::other-demo", 1)
    clock.forward(MONTH - 1)
    assert not retired(ledger)
    clock.forward(1)
    assert retired(ledger)
    assert ledger.models() == set()
    for name in ("credits", "queued", "pace", "workers", "turns"):
        assert not client.keys(f"{PREFIX}{name}:*")
    assert not client.exists(f"{PREFIX}claimed", f"{PREFIX}turn")
    assert client.hgetall(f"{PREFIX}ended") == {b"succeeded::other-demo": b"1"}
    used(ledger)
    assert ledger.models() == {MODEL}


@pytest.mark.parametrize("by", ["a worker", "a job that waits"])
def test_a_model_that_is_in_use_stays(ledger: Ledger, clock: Clock, by: str) -> None:
    used(ledger)
    clock.forward(MONTH)
    if by == "a worker":
        ledger.renew("w2", MODEL, {}, {})
    else:
        submitted(ledger)
    assert not retired(ledger)
    assert ledger.models() == {MODEL}


def test_the_sweeper_looks_for_such_models_once_an_hour(
    store: EmbeddedStore, client: Any, ledger: Ledger, clock: Clock
) -> None:
    passed_s = 0.0
    used(ledger)
    with closing(Hints(celery_app(store.url), client)) as hints:
        sweeper = Sweeper(
            *(ledger, hints), interval_ms=1_000, spare_after_ms=0, monotonic=lambda: passed_s
        )
        sweeper.sweep()
        clock.forward(MONTH)
        passed_s = HOUR_S - 1
        sweeper.sweep()
        assert ledger.models() == {MODEL}
        passed_s = HOUR_S
        sweeper.sweep()
        assert ledger.models() == set()


def test_a_sweeper_that_has_just_started_forgets_what_is_a_month_old(
    store: EmbeddedStore, client: Any, ledger: Ledger, clock: Clock
) -> None:
    used(ledger)
    clock.forward(MONTH)
    with closing(Hints(celery_app(store.url), client)) as hints:
        Sweeper(ledger, hints, interval_ms=1_000, spare_after_ms=0).sweep()
    assert ledger.models() == set()
