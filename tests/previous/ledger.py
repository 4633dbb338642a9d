"""The ledger of the release before, as tests call it: it runs in that release's own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from jobs.job import Claim, Draft
from tests.previous import release

PROGRAM = Path(__file__).parent / "program.py"


class PreviousLedger:
    """A ledger of the release before on the store at ``url``, by ``clock``; a context manager.

    A claim goes by its fencing token; one of today's has to be shown to it first (``hold``).
    """

    def __init__(self, url: str, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), url],
            cwd=release.folder(),
            env={**os.environ, **release.environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def submit(self, asked: Draft) -> str:
        """Accept a job; its id."""
        fields = {
            "tenant": asked.tenant,
            "model": asked.model,
            "conversation": asked.conversation.to_data(),
            "parameters": asked.parameters.to_data(),
            "priority": asked.priority,
            "group": asked.group,
            "supersede": asked.supersede,
            "trace": asked.trace,
            "webhook": asked.webhook.to_json() if asked.webhook else None,
            "id": asked.id,
        }
        return str(self._call("submit", fields))

    def claim(self, model: str, worker: str) -> tuple[str, str, int] | None:
        """Give the next job to a worker: its tenant, its id and the fencing token."""
        found = self._call("claim", model, worker)
        return tuple(found) if found else None

    def hold(self, claim: Claim) -> None:
        """Take over a claim that was made by today's ledger."""
        self._call("hold", claim.job.tenant, claim.job.id, claim.fence)

    def finish(self, fence: int, answer: Mapping[str, Any]) -> bool:
        """Answer a job."""
        return bool(self._call("finish", fence, answer))

    def hand_back(self, fence: int) -> bool:
        """Put a job back."""
        return bool(self._call("hand_back", fence))

    def retry(self, fence: int, error: Mapping[str, Any]) -> bool:
        """Try a job again at once."""
        return bool(self._call("retry", fence, error))

    def renew(
        self, worker: str, model: str, facts: Mapping[str, Any], held: Mapping[str, int]
    ) -> None:
        """Renew what a worker holds, by job and token."""
        self._call("renew", worker, model, facts, held)

    def cancel(self, tenant: str, job_id: str) -> bool:
        """Stop a job; False where there is none."""
        return bool(self._call("cancel", tenant, job_id))

    def erase(self, tenant: str, job_id: str) -> bool:
        """Leave nothing of a job; False where there is none."""
        return bool(self._call("erase", tenant, job_id))

    def sweep(self) -> None:
        """Repair what time has done."""
        self._call("sweep")

    def read(self, tenant: str, job_id: str) -> dict[str, Any] | None:
        """A job as that release reads it."""
        found: dict[str, Any] | None = self._call("read", tenant, job_id)
        return found

    def deliveries(self) -> list[str]:
        """The jobs whose webhooks its sender would send now."""
        return list(self._call("deliveries"))

    def _call(self, name: str, *arguments: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([name, self._clock(), arguments]) + "\n")
        self._process.stdin.flush()
        reply = self._process.stdout.readline()
        assert reply, f"the release before failed at {name}"
        return json.loads(reply)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        self._process.wait()
