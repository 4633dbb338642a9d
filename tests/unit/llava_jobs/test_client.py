"""The client waits as it is told, tries again within its patience, and never waits for ever."""

import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from llava_jobs import backoff as backoff_module
from llava_jobs import client as client_module
from llava_jobs.backoff import Backoff, retry_after
from llava_jobs.client import ApiError, Client

Answer = Callable[[httpx.Request], httpx.Response]
JOB = {"id": "job_1", "status": "queued"}
DONE = {"id": "job_1", "status": "succeeded", "answer": {"text": "E42"}, "error": None}
STATUS = "id: a\nevent: status\ndata: {}\n\n"
END = "id: done\nevent: done\ndata: {}\n\n"


class StillClock:
    """A clock that moves only where somebody sleeps, and by as much."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """The time now."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        assert len(self.slept) < 1000, "it spins"
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    """The client's clock."""
    clock = StillClock()
    own = SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep, time=time.time)
    monkeypatch.setattr(backoff_module, "time", own)
    monkeypatch.setattr(client_module, "time", own)
    return clock


@pytest.fixture
def connected(still: StillClock) -> Iterator[Callable[..., Client]]:
    """Makes clients of an API that answers with these in turn, the last of them ever after."""
    clients: list[Client] = []

    def connect(*answers: httpx.Response | Exception | Answer, patience_s: float = 30) -> Client:
        left = list(answers)

        def answer(request: httpx.Request) -> httpx.Response:
            turn = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(turn, Exception):
                raise turn
            return turn(request) if callable(turn) else turn

        client = Client("http://api.test", "key", patience_s)
        client.close()
        client._http = httpx.Client(
            transport=httpx.MockTransport(answer), base_url="http://api.test"
        )
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()


def answer(status: int = 200, json: Any = None, **headers: str) -> httpx.Response:
    """A response of the API."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=JOB if json is None else json, headers=named)


def refused(status: int, code: str = "x", **headers: str) -> httpx.Response:
    """A refusal by the API."""
    return answer(status, {"error": {"code": code, "message": f"it is {code}"}}, **headers)


def stream(text: str) -> httpx.Response:
    """A stream that ends after this text."""
    return httpx.Response(200, text=text, headers={"Content-Type": "text/event-stream"})


def test_wait_sleeps_for_retry_after_where_its_call_is_not_held(
    connected: Callable[..., Client], still: StillClock
) -> None:
    client = connected(answer(Retry_After="2"), answer(Retry_After="3"), answer(json=DONE))
    assert client.wait("job_1") == DONE
    assert still.slept == [2, 3]


def test_wait_never_spins_whatever_the_server_answers_at_once(
    connected: Callable[..., Client], still: StillClock
) -> None:
    answers: list[dict[str, Any]] = [{}, {"Retry_After": "0"}, {"Preference_Applied": "wait=30"}]
    for headers in answers:
        still.slept.clear()
        with pytest.raises(TimeoutError, match=r"job_1 is queued after 10 s"):
            connected(answer(**headers)).wait("job_1", 10)
        assert len(still.slept) <= 20


def test_wait_asks_again_at_once_after_a_call_that_was_held(
    connected: Callable[..., Client], still: StillClock
) -> None:
    def held(request: httpx.Request) -> httpx.Response:
        still.now += int(request.headers["Prefer"].removeprefix("wait="))
        return answer(Preference_Applied="wait=30", Retry_After="9")

    assert connected(held, held, answer(json=DONE)).wait("job_1") == DONE
    assert still.slept == [0, 0]


def test_wait_takes_no_longer_than_it_may(
    connected: Callable[..., Client], still: StillClock
) -> None:
    with pytest.raises(TimeoutError):
        connected(answer(Retry_After="60")).wait("job_1", 5)
    assert still.now == 5


@pytest.mark.parametrize(
    "failure",
    [
        *(refused(status) for status in (429, 502, 503, 504)),
        httpx.Response(502, text="<html>bad gateway</html>"),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("silent"),
        httpx.RemoteProtocolError("hung up"),
    ],
    ids=lambda failure: getattr(failure, "status_code", None) or type(failure).__name__,
)
def test_what_passes_is_tried_again(
    connected: Callable[..., Client],
    still: StillClock,
    failure: httpx.Response | Exception,
) -> None:
    assert connected(failure, failure, answer()).get("job_1") == JOB
    assert len(still.slept) == 2


@pytest.mark.parametrize("failure", [refused(502), httpx.ConnectError("refused")])
def test_tries_end_with_the_patience(
    connected: Callable[..., Client], still: StillClock, failure: Any
) -> None:
    with pytest.raises((ApiError, httpx.ConnectError)):
        connected(failure, patience_s=20).get("job_1")
    assert still.now == 20


def test_what_does_not_pass_is_told_at_once(
    connected: Callable[..., Client], still: StillClock
) -> None:
    for status in (400, 401, 404, 500):
        with pytest.raises(ApiError) as told:
            connected(refused(status, "code")).get("job_1")
        assert (told.value.status, told.value.code) == (status, "code")
    with pytest.raises(ApiError):
        connected(refused(503, Retry_After="31")).get("job_1")
    with pytest.raises(httpx.UnsupportedProtocol):
        connected(httpx.UnsupportedProtocol("no scheme")).get("job_1")
    assert still.slept == []


def test_the_tries_of_many_callers_are_spread(still: StillClock) -> None:
    for _ in range(50):
        tries = Backoff(1000)
        assert all(tries.wait(2) for _ in range(8))
    assert all(2 <= slept <= 10 for slept in still.slept)
    firsts = still.slept[::8]
    assert len({round(first, 6) for first in firsts}) > 40
    assert max(firsts) <= 2.5
    assert max(still.slept) > 6


def test_retry_after_is_a_number_or_a_date() -> None:
    date = {"Date": formatdate(1_000_000, usegmt=True)}
    assert retry_after({"Retry-After": "7"}) == 7
    assert retry_after({"Retry-After": formatdate(1_000_030, usegmt=True), **date}) == 30
    assert retry_after({"Retry-After": formatdate(999_000, usegmt=True), **date}) == 0
    assert 50 < retry_after({"Retry-After": formatdate(time.time() + 60, usegmt=True)}) <= 61
    for unreadable in ("", "soon", "-1", "1.5", "²"):
        assert retry_after({"Retry-After": unreadable}) == 0


def test_a_stream_goes_on_over_a_rolling_restart(
    connected: Callable[..., Client], still: StillClock
) -> None:
    asked: list[str | None] = []

    def resumed(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("Last-Event-ID"))
        return stream(END)

    gone = (refused(503, Retry_After="1"), httpx.ConnectError("refused"), stream(""), refused(502))
    events = connected(stream(STATUS), *gone, resumed).stream("job_1")
    assert [event.kind for event in events] == ["status", "done"]
    assert asked == ["a"]


@pytest.mark.parametrize(
    "silence", [stream(""), stream("retry: 1000\n\n"), refused(503), httpx.ConnectError("refused")]
)
def test_a_stream_in_which_nothing_comes_ends_with_the_patience(
    connected: Callable[..., Client], still: StillClock, silence: Any
) -> None:
    with pytest.raises((ApiError, httpx.HTTPError)):
        list(connected(stream(STATUS), silence).stream("job_1"))
    assert still.now == 30


def test_a_stream_that_says_it_is_there_is_followed_as_long_as_it_does(
    connected: Callable[..., Client], still: StillClock
) -> None:
    alive = [stream(": still here\n\n")] * 100
    events = connected(stream(STATUS), *alive, stream(END)).stream("job_1")
    assert [event.kind for event in events] == ["status", "done"]


def test_the_stream_of_a_job_that_is_not_there_ends_at_once(
    connected: Callable[..., Client],
) -> None:
    with pytest.raises(ApiError, match="job_not_found"):
        list(connected(refused(404, "job_not_found")).stream("job_1"))


def test_map_has_no_place_for_a_question_where_none_may_be_under_way(
    connected: Callable[..., Client],
) -> None:
    with pytest.raises(ValueError, match="in_flight"):
        list(connected(answer()).map([(b"x", "q")], in_flight=0, progress=False))


@pytest.mark.parametrize("status", [401, 403, 429, 503])
def test_map_ends_where_no_question_can_be_asked(
    connected: Callable[..., Client], status: int
) -> None:
    with pytest.raises(ApiError):
        list(connected(refused(status)).map([(b"x", "q")] * 3, progress=False))
