"""Of an erased job nothing is left: not in the store, nor in its file once that is compacted."""

import secrets
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from PIL import Image

from jobs.compaction import compact
from jobs.errors import StoreUnavailable
from jobs.job import Outcome, Status
from jobs.ledger import Ledger
from jobs.webhook_secrets import WebhookSecrets
from llava_jobs.cli import cli
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.ledgers import claimed, everything
from tests.unit.api.conftest import Caller
from tests.unit.api.jobs.test_refused import uri
from tests.unit.api.openai.batching import USAGE, asks, begin, feeder, jsonl, line, picture, until
from tests.unit.api.pictures import encoded

PIECE = 48


def files_with(store: EmbeddedStore, *traces: bytes) -> set[bytes]:
    """Those of the traces that are in any file of the store's."""
    held = [path.read_bytes() for path in Path(store.data_dir).rglob("*") if path.is_file()]
    return {trace for trace in traces if any(trace in data for data in held)}


def left_of(client: Any, store: EmbeddedStore, *traces: bytes) -> set[bytes]:
    """Those of the traces that the store holds; its files, once written anew, hold no others."""
    left = repr(everything(client))
    held = {trace for trace in traces if trace.decode() in left}
    compact(client, 60)
    eventually(lambda: files_with(store, *traces) == held, "no other trace is left")
    return held


@pytest.mark.parametrize("erased", ["one by one", "as a group"])
def test_an_erased_job_is_in_no_file(
    api: Caller, books: Ledger, store: EmbeddedStore, client: Any, erased: str
) -> None:
    WebhookSecrets(client).create("acme")
    canary = f"canary-{secrets.token_hex(16)}"
    noise = Image.frombytes("RGB", (64, 64), secrets.token_bytes(3 * 64 * 64))
    images = [{"data": uri(encoded(noise, "PNG"))}]
    jobs = [
        api.create(
            headers={"Idempotency-Key": f"{canary}-{state}"},
            question=f"{canary} {state}?",
            images=images,
            group=f"{canary} group",
            metadata={canary: [canary]},
            stop=[canary],
            webhook={"url": f"https://hooks.example.com/{canary}"},
        ).json["id"]  # type: ignore[index]
        for state in ("ended", "running", "queued")
    ]
    [picture] = [client.get(key)[100 : 100 + PIECE] for key in client.keys("lj:image:*")]
    books.finish(claimed(books), Outcome(Status.SUCCEEDED, answer={"text": f"{canary} answer"}))
    claimed(books)
    traces = (canary.encode(), picture, *(job.encode() for job in jobs))
    client.config_set("rdbcompression", "no")  # a text that is compressed would not be seen
    compact(client, 60)
    assert files_with(store, *traces) == set(traces), "also in a file that was written anew"
    if erased == "one by one":
        for job in jobs:
            assert api("DELETE", f"/v1/jobs/{job}").status_code == 204
    else:
        assert api("DELETE", f"/v1/groups/{canary} group").status_code == 204
    left = repr(everything(client))
    assert not [trace for trace in (canary, *jobs) if trace in left]
    environment = {"LLAVA_JOBS_REDIS_URL": store.url}
    assert CliRunner().invoke(cli, ["compact"], env=environment).exit_code == 0
    eventually(lambda: not files_with(store, *traces), "no trace is left")


def test_an_erased_batch_is_in_no_file(
    app: Flask, api: Caller, books: Ledger, store: EmbeddedStore, client: Any
) -> None:
    asked, noted, answered = (f"canary-{secrets.token_hex(16)}" for _ in range(3))
    lines = jsonl([line("a", asks(picture(api), f"{asked} question?"))])
    begun, feeding = begin(api, lines, metadata={noted: noted}), feeder(app)
    until(api, feeding, begun, "in_progress")
    feeding.step()
    answer = {"text": answered, "finish_reason": "stop"}
    books.finish(claimed(books), Outcome(Status.SUCCEEDED, answer=answer, usage=USAGE))
    ended = until(api, feeding, begun, "completed")
    written = ended["output_file_id"]
    traces = tuple(trace.encode() for trace in (asked, noted, answered, begun["id"], written))
    client.config_set("rdbcompression", "no")  # a text that is compressed would not be seen
    compact(client, 60)
    assert files_with(store, *traces) == set(traces), "also in a file that was written anew"
    assert api("DELETE", f"/v1/batches/{begun['id']}").status_code == 204
    assert left_of(client, store, *traces) == {asked.encode()}, "its input stays"
    assert api("DELETE", f"/v1/files/{begun['input_file_id']}").status_code == 200
    assert left_of(client, store, *traces) == set()


def test_a_store_that_takes_too_long_is_told(client: Any) -> None:
    client.bgrewriteaof()
    with pytest.raises(StoreUnavailable, match="still"):
        compact(client, -1)
    compact(client, 60)
