"""What thousands of callers cost one API process: polling, waiting, and the event feed."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from bench.processes import cpu_by_role
from jobs.job import Draft, Outcome, Status
from jobs.keys import Keys
from jobs.ledger import Ledger
from jobs.request import Conversation, Turn
from jobs.settings import Settings
from jobs.store import connect
from llava_jobs.embedded import free_port
from llava_jobs.up import Plan, Up

MODEL = "demo"
TENANT = "bench"
SHAPES = ("poll", "wait", "feed")
_ANSWER = Outcome(Status.SUCCEEDED, answer={"text": "E42", "finish_reason": "stop"})
WAIT_S = 60


@dataclass(frozen=True)
class Reply:
    """An HTTP response: its status, headers in lower case, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Told:
    """What callers of one shape saw: seconds of each request, and from an end to its hearing."""

    shape: str
    connections: int
    seconds: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    failures: int = 0
    ended: int = 0
    cpu: float = 0.0


class Line:
    """One kept-alive HTTP/1.1 connection to the API; a library's would cost more than the API."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._fixed = f"Host: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str, **headers: str) -> Reply:
        """Send a request and read its response; raises OSError, EOFError where that fails."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        ours = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        writer.write(f"GET {path} HTTP/1.1\r\n{self._fixed}{ours}\r\n".encode())
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        told = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(told.get("content-length", 0)))
        return Reply(int(first.split()[1]), told, body)

    def close(self) -> None:
        """Hang up; the next request connects anew."""
        if self._streams:
            self._streams[1].close()
            self._streams = None


class Ending(threading.Thread):
    """A worker that ends so many jobs a second, and says when it ended each."""

    def __init__(self, ledger: Ledger, rate: float) -> None:
        super().__init__(daemon=True)
        self.ended: dict[str, float] = {}
        self._ledger = ledger
        self._rate = rate
        self._stop_it = threading.Event()

    def run(self) -> None:
        """End jobs until told to stop."""
        due = time.perf_counter()
        while not self._stop_it.wait(max(0.0, due - time.perf_counter())):
            due += 1 / self._rate
            claim = self._ledger.claim(MODEL, "bench")
            if claim:
                self._ledger.finish(claim, _ANSWER)
                self.ended[claim.job.id] = time.perf_counter()

    def stop(self) -> None:
        """End no more."""
        self._stop_it.set()
        self.join()


class Callers:
    """Callers of one shape, for so many seconds."""

    def __init__(
        self, port: int, key: str, jobs: Sequence[str], ending: Ending, told: Told
    ) -> None:
        self._port, self._key, self._jobs = port, key, jobs
        self._ending, self._told = ending, told

    async def run(self, seconds: float) -> None:
        """Have all of them ask until the time is over."""
        self._over = time.perf_counter() + seconds
        if self._told.shape == "feed":
            calls = [self._feed()]
        else:
            headers = {"Prefer": f"wait={WAIT_S}"} if self._told.shape == "wait" else {}
            calls = [self._poll(job, headers) for job in self._jobs]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*calls)

    async def _poll(self, job: str, headers: Mapping[str, str]) -> None:
        line, seen = Line(self._port, self._key), ""
        await asyncio.sleep(random.uniform(0, 5))
        try:
            while True:
                reply = await self._get(line, f"/v1/jobs/{job}", If_None_Match=seen, **headers)
                if reply is None:
                    await asyncio.sleep(1)
                    continue
                seen = reply.headers.get("etag", seen)
                if reply.status == 200 and b'"succeeded"' in reply.body:
                    self._hear(job)
                    return
                await asyncio.sleep(float(reply.headers.get("retry-after", 1)))
        finally:
            line.close()

    async def _feed(self) -> None:
        line, after = Line(self._port, self._key), ""
        while True:
            path = "/v1/events?limit=1000" + (f"&after={after}" if after else "")
            reply = await self._get(line, path, Prefer=f"wait={WAIT_S}")
            if reply is None:
                continue
            told = json.loads(reply.body)
            after = told["next"]
            for event in told["data"]:
                if event["status"] == "succeeded":
                    self._hear(event["job"])

    def _hear(self, job: str) -> None:
        if job in self._ending.ended:
            self._told.delays.append(time.perf_counter() - self._ending.ended[job])

    async def _get(self, line: Line, path: str, **headers: str) -> Reply | None:
        began = time.perf_counter()
        try:
            reply = await line.get(path, **headers)
        except (OSError, EOFError):
            line.close()
            self._told.failures += 1
            return None
        self._told.seconds.append(time.perf_counter() - began)
        return reply


def measure(count: int, seconds: float, rate: float) -> list[Told]:
    """Measure each shape against an installation of its own, with ``count`` jobs and no worker."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return [_measured(shape, count, seconds, rate) for shape in tqdm(SHAPES, leave=False)]


def _measured(shape: str, count: int, seconds: float, rate: float) -> Told:
    with _installation() as (port, url):
        client = connect(url)
        key = Keys(client).create(TENANT)
        ledger = Ledger(client, durability="memory")
        asked = [
            ledger.submit(Draft(TENANT, MODEL, Conversation((Turn("user", (f"What is {n}?",)),))))
            for n in range(count)
        ]
        ending = Ending(ledger, rate)
        told = Told(shape, 1 if shape == "feed" else count)
        callers = Callers(port, key, [job.id for job, _ in asked], ending, told)
        before = cpu_by_role({"api": "gunicorn"})["api"]
        ending.start()
        asyncio.run(callers.run(seconds))
        told.cpu = cpu_by_role({"api": "gunicorn"})["api"] - before
        ending.stop()
        told.ended = len(ending.ended)
        client.close()
    return told


@contextmanager
def _installation() -> Iterator[tuple[int, str]]:
    with tempfile.TemporaryDirectory(prefix="bench-polls-") as folder:
        port = free_port()
        chosen = Settings(redis_url=None, bootstrap_key=None)
        up = Up(Plan("127.0.0.1", port, Path(folder), 0, chosen), lambda _: None)
        with up.running():
            up.await_ready()
            yield port, (Path(folder) / "store.url").read_text()
