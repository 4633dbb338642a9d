"""The feed tells a gap where events behind a cursor are gone, and only there."""

from typing import Any

import pytest

from jobs import feed
from jobs.feed import Feed
from jobs.ledger import Ledger, Limits
from jobs.scripts import PREFIX
from tests.ledgers import ANSWER, Clock, claimed, submitted

RETENTION = Limits().retention


@pytest.fixture
def reader(client: Any) -> Feed:
    """Whoever reads the feed."""
    return Feed(client)


def end_next(ledger: Ledger) -> None:
    """Answer the job that is next."""
    ledger.finish(claimed(ledger), ANSWER)


def forget(ledger: Ledger, clock: Clock) -> None:
    """Let the time be over of all jobs that have ended."""
    clock.forward(RETENTION + 1)
    ledger.sweep()


def last(reader: Feed) -> str:
    """The cursor of one who has read all that there is."""
    return reader.after("acme", feed.START, 1000).events[-1].cursor


def test_who_has_read_all_missed_nothing_once_all_of_that_is_forgotten(
    client: Any, ledger: Ledger, clock: Clock, reader: Feed
) -> None:
    submitted(ledger)
    end_next(ledger)
    cursor = last(reader)
    forget(ledger, clock)
    assert not client.exists(f"{PREFIX}events:acme")
    assert not reader.after("acme", cursor, 10).gap
    submitted(ledger)
    told = reader.after("acme", cursor, 10)
    assert (len(told.events), told.gap) == (1, False)


def test_who_had_an_event_to_read_that_is_forgotten_is_told(
    ledger: Ledger, clock: Clock, reader: Feed
) -> None:
    submitted(ledger)
    cursor = last(reader)
    end_next(ledger)
    forget(ledger, clock)
    submitted(ledger)
    assert reader.after("acme", cursor, 10).gap


def test_it_is_told_also_where_an_older_job_still_runs(ledger: Ledger, reader: Feed) -> None:
    submitted(ledger)
    running = claimed(ledger)
    gone = submitted(ledger)
    cursor = last(reader)
    end_next(ledger)
    ledger.erase("acme", gone)
    ledger.finish(running, ANSWER)
    assert reader.after("acme", cursor, 10).gap


def test_the_newest_event_that_is_gone_counts_in_whatever_order_jobs_go(
    ledger: Ledger, reader: Feed
) -> None:
    first, second = submitted(ledger), submitted(ledger)
    end_next(ledger)
    end_next(ledger)
    cursor = last(reader)
    ledger.erase("acme", second)
    ledger.erase("acme", first)
    submitted(ledger)
    assert not reader.after("acme", cursor, 10).gap
    assert reader.after("acme", "1-0", 10).gap


def test_where_it_is_not_known_what_is_gone_a_gap_is_told(
    client: Any, ledger: Ledger, clock: Clock, reader: Feed
) -> None:
    submitted(ledger)
    end_next(ledger)
    cursor = last(reader)
    forget(ledger, clock)
    assert 0 < client.ttl(f"{PREFIX}forgotten:acme") <= 7 * 24 * 3600
    client.delete(f"{PREFIX}forgotten:acme")
    submitted(ledger)
    assert reader.after("acme", cursor, 10).gap


def test_a_feed_that_is_cut_for_its_length_tells_who_was_too_late(
    client: Any, ledger: Ledger, clock: Clock, reader: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(ledger)
    end_next(ledger)
    forget(ledger, clock)
    for _ in range(4):
        submitted(ledger)
    cursor = reader.after("acme", feed.START, 1).events[0].cursor
    client.xtrim(f"{PREFIX}events:acme", maxlen=2, approximate=False)
    monkeypatch.setattr(feed, "MOST_KEPT", 2)
    assert reader.after("acme", cursor, 10).gap
