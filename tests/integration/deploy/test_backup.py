"""A backup made as docs/operations.md says, put back into a new store: every job is there."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.job import Outcome, Status
from jobs.ledger import Ledger
from jobs.store import connect
from tests.deployment import ROOT
from tests.eventually import eventually
from tests.ledgers import MODEL, claimed, status_of, submitted
from tests.shipped_store import ShippedStore

DOCUMENT = (ROOT / "docs" / "operations.md").read_text()


def commands_of_the_document() -> list[list[str]]:
    """The commands to the store that the document has before and after the copy."""
    section = DOCUMENT.split("## Backup and restore")[1].split("\n## ")[0]
    return [line.split() for line in re.findall(r"^ +valkey-cli \S+ (.+)$", section, re.MULTILINE)]


def test_what_was_accepted_and_what_ended_before_the_copy_is_there_after_it(
    variables: Mapping[str, str], tmp_path: Path
) -> None:
    before, ongoing, after = commands_of_the_document()
    with ShippedStore(tmp_path / "old", variables) as old:
        client: Any = connect(old.url("operator"))
        ledger = Ledger(connect(old.url("api")))
        waiting = [submitted(ledger) for _ in range(20)]
        done = claimed(ledger)
        assert ledger.finish(done, Outcome(Status.SUCCEEDED, answer={"text": "E7"}))
        running = claimed(ledger)
        client.execute_command(*before)
        eventually(lambda: "aof_rewrite_in_progress:0" in _text(client, ongoing), "rewritten")
        # While it serves: only so is it a backup of a store that is not to stop.
        shutil.copytree(old.data / "appendonlydir", tmp_path / "backup")
        submitted(ledger)  # comes too late for the copy
        client.execute_command(*after)
        assert client.config_get("auto-aof-rewrite-percentage") == {
            "auto-aof-rewrite-percentage": "100"
        }
    new = ShippedStore(tmp_path / "new", variables)
    shutil.copytree(tmp_path / "backup", new.data / "appendonlydir")
    with new:
        ledger = Ledger(connect(new.url("api")))
        left = set(waiting) - {done.job.id, running.job.id}
        assert {status_of(ledger, job_id) for job_id in left} == {("queued", None)}
        assert status_of(ledger, done.job.id) == ("succeeded", None)
        found = ledger.get(done.job.tenant, done.job.id)
        assert found is not None
        assert found.answer == {"text": "E7"}
        assert status_of(ledger, running.job.id) == ("processing", None)
        assert sum(ledger.queued(MODEL).values()) == len(left)
        # Its worker's lease lapses, and it is run again; nothing is claimed twice.
        again = [claimed(ledger) for _ in left]
        assert {claim.job.id for claim in again} == left


def _text(client: Any, command: list[str]) -> str:
    info = client.execute_command(*command)
    return " ".join(f"{key}:{value}" for key, value in info.items())
