"""Real installations: `llava-jobs up` as a process, and the same processes singly."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from llava_jobs.client import Client
from llava_jobs.demo import PICTURES, free_port
from tests.eventually import eventually

BIN = Path(sys.executable).parent
START_S = 90.0
TRUTHS: list[dict[str, str]] = json.loads((PICTURES / "truths.json").read_text())
BRISK = {"LLAVA_JOBS_LEASE_MS": "2000", "LLAVA_JOBS_RENEW_MS": "400", "LLAVA_JOBS_SWEEP_MS": "200"}
"""Settings under which a crash is noticed in seconds."""


def environment(**settings: str) -> dict[str, str]:
    """The environment of a child: ours, with no settings but those given."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith("LLAVA_JOBS_")}
    return {**mine, **settings}


@dataclass
class Installation:
    """A running `llava-jobs up`, what it said so far, and its key."""

    process: subprocess.Popen[str]
    url: str
    output: Path
    key: str = field(default="", repr=False)

    def said(self) -> str:
        """Everything that it printed so far."""
        return self.output.read_text()

    def client(self) -> Client:
        """A client with the installation's key."""
        return Client(self.url, self.key)

    def http(self) -> httpx.Client:
        """A bare HTTP client with the installation's key."""
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=70
        )

    def children(self, word: str = "") -> list[psutil.Process]:
        """The processes below it whose command line has a word."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in below if word in " ".join(child.cmdline())]

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Stop it as Ctrl-C does and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def up(data_dir: Path, *options: str, key: str = "", **settings: str) -> Iterator[Installation]:
    """`llava-jobs up` on a free port, ready to answer; stopped on leaving.

    `key` is that of an earlier start, where the installation has one already.
    """
    port = free_port()
    data_dir.mkdir(parents=True, exist_ok=True)
    output = data_dir / "said"
    command = [str(BIN / "llava-jobs"), "up", "--port", str(port), "--data-dir", str(data_dir)]
    with output.open("w") as said:
        process = subprocess.Popen(
            [*command, *options],
            env=environment(**settings),
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
        )
    running = Installation(process, f"http://127.0.0.1:{port}", output, key)
    try:
        eventually(
            lambda: "ready http" in running.said() or process.poll() is not None,
            f"ready; said: {running.said()}",
            START_S,
        )
        assert process.poll() is None, running.said()
        found = re.search(r"your key, shown this once: (\S+)", running.said())
        running.key = key or settings.get("LLAVA_JOBS_BOOTSTRAP_KEY") or (found[1] if found else "")
        yield running
    finally:
        running.stop()


@contextmanager
def process(*command: str, log: Path, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """One production process, its output in `log`; terminated on leaving."""
    with log.open("w") as output:
        started = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            env=environment(**settings),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.terminate()
        started.wait(60)


def command(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `llava-jobs` to its end."""
    return subprocess.run(
        [str(BIN / "llava-jobs"), *words],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def submit(client: Client, example: dict[str, str], **fields: str) -> dict[str, Any]:
    """Submit one of the bundled questions."""
    return client.submit(PICTURES / example["picture"], example["question"], **fields)
