"""The clients of a run: threads that work off an agenda of posts, cancellations and polls."""

from __future__ import annotations

import base64
import contextlib
import heapq
import io
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any

import httpx
from PIL import Image

from jobs.feed import START, Event
from jobs.job import Reason, Status
from tests.faults.history import History, Post
from tests.faults.schedule import Order, Schedule

THREADS = 12
AGAIN_S = 0.25
"""Between two tries of a client; shorter than asked for, so that a run takes seconds."""
ENDED = {"succeeded", "failed", "canceled"}


class Clients:
    """Does what a schedule says, and notes what it is told.

    ``keys`` holds each tenant's key. After ``give_up_s`` without success a client tries no more.
    """

    def __init__(
        self, urls: list[str], keys: Mapping[str, str], schedule: Schedule, give_up_s: float
    ) -> None:
        self.history = History()
        self._schedule = schedule
        self._keys = keys
        self._https = [
            httpx.Client(base_url=url, timeout=15, limits=httpx.Limits(max_connections=None))
            for url in urls
        ]
        self._start = time.monotonic()
        self._give_up_s = give_up_s
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self._open = 0
        self._turn = threading.Condition()
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(THREADS)]
        self._listeners = [
            threading.Thread(target=self._listen, args=(tenant,)) for tenant in schedule.tenants
        ]
        self._pictures = [_picture(shade) for shade in range(0, 256, 32)]

    def start(self) -> None:
        """Begin; times of the schedule count from now."""
        self._start = time.monotonic()
        for order in self._schedule.orders:
            self._later(order.at, partial(self._post, order, order.api))
            if order.twice:
                self._later(order.at, partial(self._post, order, 1 - order.api))
        for thread in (*self._threads, *self._listeners):
            thread.start()

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def left(self) -> int:
        """Actions that are not done."""
        return self._open

    def wait(self, seconds: float) -> None:
        """Wait until there is nothing more to do, or so long."""
        with self._turn:
            self._turn.wait_for(lambda: self._open == 0, seconds)

    def close(self) -> None:
        """Look at every accepted job once more, and stop."""
        self._enough.set()
        with self._turn:
            self._turn.notify_all()
        for thread in (*self._threads, *self._listeners):
            thread.join()
        self._look_at_all()
        for http in self._https:
            http.close()

    def _later(self, at: float, action: Callable[[], None]) -> None:
        with self._turn:
            self._open += 1
            heapq.heappush(self._agenda, (at, next(self._number), action))
            self._turn.notify()

    def _again(self, action: Callable[[], None]) -> None:
        if self.now < self._give_up_s:
            self._later(self.now + AGAIN_S, action)

    def _work(self) -> None:
        while action := self._next():
            try:
                action()
            finally:
                with self._turn:
                    self._open -= 1
                    if self._open == 0:
                        self._turn.notify_all()

    def _next(self) -> Callable[[], None] | None:
        with self._turn:
            while not self._enough.is_set():
                left = self._agenda[0][0] - self.now if self._agenda else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._agenda)[2]
                self._turn.wait(left)
        return None

    def _post(self, order: Order, api: int) -> None:
        headers = self._headers(order.tenant)
        if order.key:
            headers["Idempotency-Key"] = order.key
        response = self._ask(api, "POST", "/v1/jobs", headers, json=self._body(order))
        if response is None or response.status_code not in {200, 202}:
            post = Post(order.number, response.status_code if response is not None else None)
            self.history.posted(post)
            if order.key and not post.refused:
                self._again(partial(self._post, order, 1 - api))
            return
        sight = self.history.saw(response.json())
        self.history.posted(Post(order.number, response.status_code, sight.job))
        if order.cancel_after is not None:
            self._later(self.now + order.cancel_after, partial(self._cancel, order, sight.job))
        if order.polled:
            self._later(self.now + AGAIN_S, partial(self._poll, order, sight.job, api))

    def _cancel(self, order: Order, job: str) -> None:
        path = f"/v1/jobs/{job}/cancel"
        response = self._ask(order.api, "POST", path, self._headers(order.tenant))
        if response is not None and response.status_code == 200:
            self.history.saw(response.json())
        else:
            self._again(partial(self._cancel, order, job))

    def _poll(self, order: Order, job: str, api: int) -> None:
        response = self._ask(api, "GET", f"/v1/jobs/{job}", self._headers(order.tenant))
        if response is not None and response.status_code == 200:
            sight = self.history.saw(response.json())
            if sight.status in ENDED:
                return
        self._again(partial(self._poll, order, job, 1 - api))

    def _listen(self, tenant: str) -> None:
        cursor, api = START, 0
        while not self._enough.is_set():
            query = f"/v1/events?after={cursor}&limit=1000"
            response = self._ask(api, "GET", query, {**self._headers(tenant), "Prefer": "wait=1"})
            if response is None or response.status_code != 200:
                api = 1 - api
                self._enough.wait(AGAIN_S)
                continue
            body = response.json()
            self.history.hears(tenant, [_event(data) for data in body["data"]])
            cursor = body["next"]

    def _look_at_all(self) -> None:
        tenant_of = {order.number: order.tenant for order in self._schedule.orders}
        for tenant in self._schedule.tenants:
            posts = self.history.posts
            jobs = list({p.job: None for p in posts if p.job and tenant_of[p.order] == tenant})
            for first in range(0, len(jobs), 100):
                query = f"/v1/jobs?ids={','.join(job or '' for job in jobs[first : first + 100])}"
                response = self._ask(first // 100 % 2, "GET", query, self._headers(tenant))
                if response is None or response.status_code != 200:
                    told = response.text if response is not None else "nothing"
                    raise AssertionError(f"the API does not list jobs in the end: {told}")
                for body in response.json()["data"]:
                    self.history.saw(body)

    def _ask(
        self, api: int, method: str, path: str, headers: dict[str, str], **body: Any
    ) -> httpx.Response | None:
        with contextlib.suppress(httpx.HTTPError):
            return self._https[api].request(method, path, headers=headers, **body)
        return None

    def _headers(self, tenant: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._keys[tenant]}"}

    def _body(self, order: Order) -> dict[str, Any]:
        number = order.script.number if order.shared else order.number
        picture = self._pictures[number % len(self._pictures)]
        body: dict[str, Any] = {
            "question": order.script.question,
            "images": [{"data": picture}],
            "priority": order.priority,
            "cache": order.shared,
            "metadata": {"order": order.number},
        }
        return body | ({"deadline": f"{order.deadline_ms}ms"} if order.deadline_ms else {})


def _picture(shade: int) -> str:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (shade, 90, 160)).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def _event(data: dict[str, Any]) -> Event:
    reason = Reason(data["reason"]) if data["reason"] else None
    return Event(data["id"], data["job"], Status(data["status"]), reason, 0)
