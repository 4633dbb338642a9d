"""What is told of running jobs: all they say, in few writes; nothing where nobody listens."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.errors import StoreUnavailable
from jobs.ledger import Ledger
from jobs.pieces import START, Piece, Pieces
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.ledgers import claimed, submitted
from worker.narrator import Narrator


class Voice:
    """A running job, as the engine hands it out."""

    def __init__(self) -> None:
        self.said = ""
        self._on_text: Callable[[str], object] | None = None

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens."""
        return self._on_text is not None

    def listen(self, on_text: Callable[[str], object]) -> None:
        """Give what was said, and then what will be."""
        assert self._on_text is None
        self._on_text = on_text
        if self.said:
            on_text(self.said)

    def say(self, piece: str) -> None:
        """Say a piece."""
        self.said += piece
        if self._on_text:
            self._on_text(piece)


class Recording(Pieces):
    """The pieces of the store, and how often they were written."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.writes = 0

    def say(self, pieces: Any) -> set[str]:
        """Count, and do it."""
        self.writes += 1
        return super().say(pieces)


@pytest.fixture
def pieces(client: Any) -> Recording:
    """The pieces of an empty store."""
    return Recording(client)


@pytest.fixture
def narrator(pieces: Recording) -> Iterator[Narrator]:
    """A narrator at work."""
    made = Narrator(pieces)
    made.start()
    yield made
    made.close()


def heard(pieces: Pieces, job_id: str) -> str:
    """All that is kept of what a job said."""
    told: list[Piece] = [piece for _, piece in pieces.after({job_id: START}, 1)]
    text = ""
    for piece in told:
        assert piece.offset == len(text)
        text += piece.text
    return text


def test_a_job_that_nobody_listens_to_is_not_read(
    ledger: Ledger, narrator: Narrator, pieces: Recording
) -> None:
    submitted(ledger)
    claim, voice = claimed(ledger), Voice()
    narrator.attend(claim)
    narrator.hear(claim, voice.listen)
    narrator.heard("job_other", "listen", "")
    narrator.heard(claim.job.id, "processing", "acme")
    assert not voice.is_heard


def test_a_job_that_was_listened_to_before_it_ran_is_told_from_the_start(
    ledger: Ledger, narrator: Narrator, pieces: Recording
) -> None:
    pieces.listen("acme", submitted(ledger))
    claim, voice = claimed(ledger), Voice()
    narrator.attend(claim)
    narrator.hear(claim, voice.listen)
    for piece in ("E", "4", "2"):
        voice.say(piece)
    eventually(lambda: heard(pieces, claim.job.id) == "E42", "all is told")


def test_a_listener_that_comes_late_misses_nothing_and_a_second_changes_nothing(
    ledger: Ledger, narrator: Narrator, pieces: Recording
) -> None:
    submitted(ledger)
    claim, voice = claimed(ledger), Voice()
    narrator.attend(claim)
    narrator.hear(claim, voice.listen)
    voice.say("The code ")
    narrator.heard(claim.job.id, "listen", "")
    voice.say("is ")
    narrator.heard(claim.job.id, "listen", "")
    voice.say("E42.")
    eventually(lambda: heard(pieces, claim.job.id) == "The code is E42.", "all is told")


def test_a_listener_between_claim_and_engine_is_not_forgotten(
    ledger: Ledger, narrator: Narrator, pieces: Recording
) -> None:
    submitted(ledger)
    claim, voice = claimed(ledger), Voice()
    narrator.attend(claim)
    narrator.heard(claim.job.id, "listen", "")
    narrator.hear(claim, voice.listen)
    assert voice.is_heard


def test_many_jobs_and_tokens_are_few_writes(
    ledger: Ledger, narrator: Narrator, pieces: Recording
) -> None:
    voices = {}
    for _ in range(20):
        pieces.listen("acme", submitted(ledger))
        claim = claimed(ledger)
        voices[claim.job.id] = voice = Voice()
        narrator.attend(claim)
        narrator.hear(claim, voice.listen)
    for number in range(50):
        for voice in voices.values():
            voice.say(f"{number} ")
    eventually(lambda: all(heard(pieces, job) == voices[job].said for job in voices), "all is told")
    assert pieces.writes < 50


def test_a_job_that_was_lost_is_told_no_further(
    ledger: Ledger, narrator: Narrator, pieces: Recording
) -> None:
    pieces.listen("acme", submitted(ledger))
    lost, voice = claimed(ledger), Voice()
    narrator.attend(lost)
    narrator.hear(lost, voice.listen)
    ledger.hand_back(lost)
    anew = claimed(ledger)
    voice.say("stale")
    eventually(lambda: pieces.writes, "it was tried")
    assert pieces.say([Piece(anew.job.id, anew.fence, 0, "fresh")]) == set()
    assert heard(pieces, anew.job.id) == "fresh"
    narrator.leave(lost)


def test_what_could_not_be_written_is_written_later(store: EmbeddedStore, ledger: Ledger) -> None:
    own = connect(store.url)
    away = Away(own)
    narrator = Narrator(away)
    narrator.start()
    away.listen("acme", submitted(ledger))
    claim, voice = claimed(ledger), Voice()
    narrator.attend(claim)
    narrator.hear(claim, voice.listen)
    voice.say("E")
    eventually(lambda: away.tried, "it was tried")
    voice.say("42")
    away.is_back = True
    eventually(lambda: heard(away, claim.job.id) == "E42", "all is told")
    narrator.close()
    own.close()


class Away(Pieces):
    """The pieces of a store that takes no writes for a while."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.tried = 0
        self.is_back = False

    def say(self, pieces: Any) -> set[str]:
        """Refuse until the store is back."""
        if not self.is_back:
            self.tried += 1
            raise StoreUnavailable("away")
        return super().say(pieces)
