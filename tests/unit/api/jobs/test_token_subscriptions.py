"""Following what a job says: whoever begins to follow it hears all, whoever has left meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from api.jobs.token_subscriptions import Ear, Following
from jobs.pieces import START, Piece
from tests.eventually import eventually

JOB = "job_1"
WORDS = ["Hello", " world", "!"]


class Said:
    """What a job has said, a piece at each cursor; ``meanwhile`` happens before a read returns."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.words = 1
        self._meanwhile: list[Callable[[], None]] = [meanwhile]

    def after(self, cursors: Mapping[str, str], wait_ms: int) -> list[tuple[str, Piece]]:
        """Return the pieces behind the cursors."""
        del wait_ms
        found = []
        for job, cursor in cursors.items():
            start = 0 if cursor == START else int(cursor.partition("-")[0])
            for number in range(start, self.words):
                offset = len("".join(WORDS[:number]))
                found.append((f"{number + 1}-0", Piece(job, 1, offset, WORDS[number])))
        if self.words > 1 and self._meanwhile:
            self._meanwhile.pop()()
        return found


def test_who_comes_while_the_last_listener_leaves_hears_all_from_the_start() -> None:
    def reload() -> None:
        following.leave(first)
        came.append(following.follow(JOB))

    said = Said(reload)
    following = Following(said)  # type: ignore[arg-type]  # it reads, and no more is needed
    first, came = following.follow(JOB), list[Ear]()
    following.start()
    try:
        eventually(lambda: first.text == WORDS[0], "the first has heard a word")
        said.words = len(WORDS)
        eventually(lambda: came, "its page is loaded again")
        eventually(lambda: came[0].text == "".join(WORDS), "the second hears all of it")
    finally:
        following.close()
