"""Feeders die at any moment, and come back late: each line is one job and one line of a file."""

from __future__ import annotations

import gc
import random
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from api.openai.batch_lines import Seen
from api.openai.batch_runner import Feeder
from jobs.batches import Batches
from jobs.ledger import Ledger, Limits
from jobs.scripts import PREFIX, Scripts
from tests.unit.api.conftest import Caller
from tests.unit.api.openai.batching import (
    ENDS,
    asks,
    batch_of,
    begin,
    feeder,
    jsonl,
    line,
    picture,
    questions,
    run,
    until,
    work,
    written,
)


class Killed(BaseException):
    """Raised where a feeder dies."""


class Mortal(Scripts):
    """Scripts whose caller dies at one of them: before it runs, or before its reply is heard."""

    def __init__(self, client: Any, left: int, *, executed: bool) -> None:
        super().__init__(client)
        self._left = left
        self._executed = executed

    def run(self, name: str, *arguments: str | int | bytes, durable: bool = False) -> Any:
        self._left -= 1
        if self._left < 0 and not self._executed:
            raise Killed
        reply = super().run(name, *arguments, durable=durable)
        if self._left < 0:
            raise Killed
        return reply


def mortal(app: Flask, client: Any, left: int, *, executed: bool) -> Feeder:
    """A feeder that dies so."""
    scripts = Mortal(client, left, executed=executed)
    ledger = Ledger(client, Limits())
    ledger._run = scripts.run
    return feeder(app, ledger=ledger, batches=Batches(client, scripts), jobs=3)


def recover(client: Any) -> None:
    """Let the leases of dead feeders run out."""
    for name in client.zrange(f"{PREFIX}batch-turns", 0, -1):
        client.zadd(f"{PREFIX}batch-turns", {name: 0})


def mixed(shown: str, count: int = 6) -> bytes:
    """Lines of which every third cannot be asked."""
    return jsonl(
        line(f"n{i}", asks(shown, f"What is {i}?", **({"tools": []} if i % 3 == 2 else {})))
        for i in range(count)
    )


def all_lines(api: Caller, batch: dict[str, Any]) -> list[str]:
    """The custom ids of all lines that were written, in order of the files."""
    files = ("output_file_id", "error_file_id")
    return [each["custom_id"] for name in files for each in written(api, batch[name])]


@pytest.mark.parametrize("executed", [False, True], ids=["before", "after"])
def test_a_feeder_killed_at_any_command_loses_and_doubles_nothing(
    app: Flask, api: Caller, client: Any, executed: bool
) -> None:
    shown = picture(api)
    for at in range(200):
        books = _Counting(client)
        begun = begin(api, mixed(shown))
        dying = mortal(app, client, at, executed=executed)
        died = False
        try:
            run(api, dying, books, begun)
        except Killed:
            died = True
            recover(client)
        ended = run(api, feeder(app, jobs=3), books, begun)
        assert ended["request_counts"] == {"total": 6, "completed": 4, "failed": 2}, at
        assert sorted(all_lines(api, ended)) == [f"n{i}" for i in range(6)], at
        assert books.questions == {f"What is {i}?": 1 for i in (0, 1, 3, 4)}, at
        assert client.hlen(f"{PREFIX}open-batches") == 0
        if not died:
            break
    assert 15 < at < 199


class _Counting(Ledger):
    """A ledger that counts how often each question was answered."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.questions: dict[str, int] = {}

    def finish(self, claim: Any, outcome: Any) -> bool:
        asked = str(claim.job.conversation.question)
        self.questions[asked] = self.questions.get(asked, 0) + 1
        return super().finish(claim, outcome)


def test_a_feeder_killed_while_a_batch_is_cancelled_loses_and_doubles_nothing(
    app: Flask, api: Caller, client: Any, books: Ledger
) -> None:
    shown = picture(api)
    for at in range(100):
        begun = begin(api, questions(shown, 120))
        until(api, feeder(app, jobs=3), begun, "in_progress")
        feeder(app, jobs=3).step()
        work(books, 2)
        api("POST", f"/v1/batches/{begun['id']}/cancel")
        died = False
        try:
            until(api, mortal(app, client, at, executed=bool(at % 2)), begun, "cancelled")
        except Killed:
            died = True
            recover(client)
        ended = until(api, feeder(app), begun, "cancelled") if died else batch_of(api, begun)
        assert ended["request_counts"] == {"total": 120, "completed": 2, "failed": 118}, at
        assert sorted(all_lines(api, ended)) == sorted(f"n{i}" for i in range(120)), at
        if not died:
            break
    assert 5 < at < 99


def test_feeders_that_take_the_same_batch_at_once_double_nothing(
    app: Flask, api: Caller, client: Any, seed: int
) -> None:
    begun = begin(api, mixed(picture(api), 60))
    draw, books = random.Random(seed), _Counting(client)
    over = threading.Event()

    def feed() -> None:
        feeding = feeder(app, jobs=draw.randrange(1, 8))
        while not over.is_set():
            recover(client)  # no lease keeps any of them away
            feeding.step()

    threads = [threading.Thread(target=feed) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        ended = run(api, feeder(app), books, begun)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert ended["request_counts"] == {"total": 60, "completed": 40, "failed": 20}
    assert len(all_lines(api, ended)) == len(set(all_lines(api, ended))) == 60
    assert set(books.questions.values()) == {1}


def test_a_line_is_in_its_file_once_however_often_it_is_written(
    app: Flask, api: Caller, client: Any, books: Ledger
) -> None:
    begun, feeding = begin(api, questions(picture(api), 1)), feeder(app)
    until(api, feeding, begun, "in_progress")
    feeding.step()
    work(books)
    parts = app.extensions["services"]
    batch = parts.batches.get("acme", begun["id"])
    _, [ended] = parts.batches.ended(batch, 9)
    entry = (ended.job_id, "output", "{}\n")
    assert [parts.batches.write(batch, [entry]) for _ in range(3)] == [1, 0, 0]


def traced(act: Callable[[], object]) -> int:
    """The most bytes that were held at one time while something was done."""
    gc.collect()
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_batch_is_fed_with_few_of_its_lines_in_memory(
    app: Flask, api: Caller, client: Any, books: Ledger
) -> None:
    shown = picture(api)

    def most(count: int) -> int:
        asked = (asks(shown, f"What is {i}?", user="x" * 4_000) for i in range(count))
        begun = begin(api, jsonl(line(f"n{i}", body) for i, body in enumerate(asked)))
        feeding = feeder(app, jobs=20)
        until(api, feeding, begun, "in_progress")

        def drive() -> None:
            while batch_of(api, begun)["status"] not in ENDS:
                feeding.step()
                work(books)
                gc.collect()  # what only waits for the collector is not held

        held = traced(drive)
        assert batch_of(api, begun)["request_counts"]["completed"] == count
        return held

    most(40)  # what is made once
    assert most(440) - most(40) < 600_000  # of 400 lines more, which have 1,600,000 bytes


def test_fifty_thousand_lines_are_looked_through_in_the_memory_of_a_few(
    app: Flask, api: Caller, client: Any
) -> None:
    lines = jsonl(line(f"custom-{i}", {}) for i in range(50_000))
    assert len(lines) > 4_000_000
    begun = begin(api, lines)
    del lines
    assert traced(feeder(app).step) < 2_000_000
    assert batch_of(api, begun)["request_counts"]["total"] == 50_000


def test_seen_texts_are_known_again_in_fixed_memory() -> None:
    seen = Seen()
    texts = [f"custom-{i}" for i in range(50_000)]
    assert all(seen.add(text) for text in texts)
    assert not any(seen.add(text) for text in texts)
