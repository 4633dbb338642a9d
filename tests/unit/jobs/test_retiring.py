"""A model that nobody serves or asks for any more is forgotten with all that is counted of it."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.ledger import Ledger
from jobs.scripts import PREFIX
from tests.ledgers import ANSWER, MODEL, Clock, claimed, submitted

MONTH = 30 * 86_400_000


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
