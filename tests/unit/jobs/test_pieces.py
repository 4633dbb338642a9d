"""What running jobs say: only where somebody listens, only by who holds them, and not for long."""

from typing import Any

import pytest

from jobs.changes import CHANGES
from jobs.ledger import Ledger
from jobs.pieces import KEEP_MS, START, Piece, Pieces
from jobs.scripts import PREFIX
from tests.eventually import PATIENCE_S
from tests.ledgers import ANSWER, claimed, everything, submitted


@pytest.fixture
def pieces(client: Any) -> Pieces:
    """The pieces of an empty store."""
    return Pieces(client)


def said(pieces: Pieces, job_id: str, cursor: str = START) -> list[tuple[int, int, str]]:
    """Fence, offset and text of what is kept of a job."""
    return [(p.fence, p.offset, p.text) for _, p in pieces.after({job_id: cursor}, 1)]


def test_a_claim_says_whether_somebody_listens(ledger: Ledger, pieces: Pieces) -> None:
    wanted, other = submitted(ledger), submitted(ledger)
    pieces.listen("acme", wanted)
    claims = [claimed(ledger), claimed(ledger)]
    assert {c.job.id: c.listened for c in claims} == {wanted: True, other: False}


def test_who_runs_a_job_hears_that_somebody_listens(
    client: Any, ledger: Ledger, pieces: Pieces
) -> None:
    job_id = submitted(ledger)
    claimed(ledger)
    with client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(CHANGES)
        channel.get_message(timeout=PATIENCE_S)
        pieces.listen("acme", job_id)
        assert channel.get_message(timeout=PATIENCE_S)["data"].decode() == f"{job_id} listen"


def test_another_tenant_cannot_listen(client: Any, ledger: Ledger, pieces: Pieces) -> None:
    job_id = submitted(ledger)
    before = everything(client)
    pieces.listen("other", job_id)
    pieces.listen("acme", "job_none")
    assert everything(client) == before
    assert not claimed(ledger).listened


def test_pieces_are_read_in_order_behind_a_cursor(ledger: Ledger, pieces: Pieces) -> None:
    submitted(ledger)
    claim = claimed(ledger)
    job_id = claim.job.id
    pieces.say([Piece(job_id, claim.fence, 0, "Größe "), Piece(job_id, claim.fence, 6, "5")])
    assert said(pieces, job_id) == [(claim.fence, 0, "Größe "), (claim.fence, 6, "5")]
    [(first, _), (last, _)] = pieces.after({job_id: START}, 1)
    assert said(pieces, job_id, first) == [(claim.fence, 6, "5")]
    assert said(pieces, job_id, last) == []


def test_only_who_holds_a_job_speaks_for_it(ledger: Ledger, pieces: Pieces) -> None:
    job_id = submitted(ledger)
    lost = claimed(ledger)
    pieces.say([Piece(job_id, lost.fence, 0, "old")])
    ledger.hand_back(lost)
    assert pieces.say([Piece(job_id, lost.fence, 3, "er")]) == {job_id}
    anew = claimed(ledger)
    assert pieces.say([Piece(job_id, lost.fence, 3, "er")]) == {job_id}
    assert pieces.say([Piece(job_id, anew.fence, 0, "new")]) == set()
    assert said(pieces, job_id) == [(anew.fence, 0, "new")]


def test_pieces_are_kept_for_a_while(client: Any, ledger: Ledger, pieces: Pieces) -> None:
    job_id = submitted(ledger)
    pieces.say([Piece(job_id, claimed(ledger).fence, 0, "E42")])
    assert 0 < client.pttl(f"{PREFIX}pieces:{job_id}") <= KEEP_MS


def test_nothing_is_left_of_them_once_a_job_has_ended(
    client: Any, ledger: Ledger, pieces: Pieces
) -> None:
    job_id = submitted(ledger)
    claim = claimed(ledger)
    pieces.say([Piece(job_id, claim.fence, 0, "E42")])
    ledger.finish(claim, ANSWER)
    assert pieces.say([Piece(job_id, claim.fence, 3, ".")]) == {job_id}
    assert not client.exists(f"{PREFIX}pieces:{job_id}")


def test_an_erased_job_speaks_no_more(client: Any, ledger: Ledger, pieces: Pieces) -> None:
    job_id = submitted(ledger)
    pieces.listen("acme", job_id)
    claim = claimed(ledger)
    pieces.say([Piece(job_id, claim.fence, 0, "canary")])
    ledger.erase("acme", job_id)
    assert pieces.say([Piece(job_id, claim.fence, 6, "canary")]) == {job_id}
    pieces.listen("acme", job_id)
    assert not [key for key, value in everything(client).items() if job_id.encode() in key + value]
    assert not [value for value in everything(client).values() if b"canary" in value]
