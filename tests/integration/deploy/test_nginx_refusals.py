"""What nginx refuses itself: told to programs as the API tells errors, to people as a page."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.settings import Settings
from tests.eventually import eventually
from tests.installations import Running, free_port
from tests.integration.deploy.conftest import answers, nginx_command

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
HTMX = {"HX-Request": "true", "Accept": "text/html, */*"}
TOO_MUCH = b" " * (int(Settings.model_fields["max_body_bytes"].default) + 1)


def served(folder: Path, api: int) -> Iterator[httpx.Client]:
    """A caller of nginx before a port, which has a second to answer."""
    port = free_port()
    command = nginx_command(folder / "nginx", listen=port, api=api, patience="1s")
    running = Running(command, {})
    try:
        eventually(lambda: answers(f"http://127.0.0.1:{port}/"), "nginx answers")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            yield http
    finally:
        running.end()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A caller of nginx with nothing behind it."""
    yield from served(tmp_path_factory.mktemp("alone"), free_port())


@pytest.fixture
def before_silence(tmp_path: Path) -> Iterator[httpx.Client]:
    """A caller of nginx before something that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield from served(tmp_path, silent.getsockname()[1])


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body of a refusal as the API tells it."""
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-ID"]
    told: dict[str, Any] = response.json()
    assert told["status"] == status
    assert told["error"]["code"] == code
    return told


def page(response: httpx.Response, status: int, title: str) -> str:
    """The text of a refusal as people read it."""
    assert response.status_code == status
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["X-Request-ID"] in response.text
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert f"<h1>{title}</h1>" in response.text
    assert "<script" not in response.text
    assert "nginx" not in response.text
    return response.text


def test_an_api_that_is_away_is_told_as_the_api_tells_errors(alone: httpx.Client) -> None:
    answer = alone.get("/v1/jobs")
    told = problem(answer, 503, "api_unavailable")
    assert told["instance"] == "/v1/jobs"
    assert answer.headers["Retry-After"] == "5"


def test_a_path_of_the_api_is_for_programs_whatever_they_accept(alone: httpx.Client) -> None:
    for headers in (BROWSER, HTMX, {"Accept": ""}):
        problem(alone.get("/v1/jobs", headers=headers), 503, "api_unavailable")
    problem(alone.get("/openapi.json"), 503, "api_unavailable")


def test_a_browser_is_shown_a_page(alone: httpx.Client) -> None:
    answer = alone.get("/jobs/job_1?canary=1", headers=BROWSER)
    text = page(answer, 503, "Not available right now")
    assert '<p lang="zh-CN">服务过载' in text
    assert answer.headers["Retry-After"] == "5"
    assert "canary" not in text


def test_an_api_that_does_not_answer_in_time_is_as_good_as_away(
    before_silence: httpx.Client,
) -> None:
    problem(before_silence.get("/v1/jobs"), 503, "api_unavailable")
    page(before_silence.get("/", headers=BROWSER), 503, "Not available right now")


def test_a_picture_that_is_too_large_is_said_so_where_it_was_sent(alone: httpx.Client) -> None:
    problem(alone.post("/v1/jobs", content=TOO_MUCH, headers=BROWSER), 413, "body_too_large")
    answer = alone.post("/ask", content=TOO_MUCH, headers=BROWSER)
    page(answer, 413, "That is too large")
    assert "Retry-After" not in answer.headers
    part = alone.post("/ask", content=TOO_MUCH, headers=HTMX)
    assert (part.status_code, part.headers["HX-Retarget"]) == (413, "#refusal")
    assert part.headers["HX-Reswap"] == "innerHTML"
    assert re.fullmatch(r'<p class="notice bad" role="alert">.+</p>\s*', part.text)


@pytest.mark.parametrize("path", ['/v1/"', "/v1/%22%5C", "/v1/\\", "/v1/a?b=%22", "/v1/%0A"])
def test_no_path_breaks_what_is_told(alone: httpx.Client, path: str) -> None:
    with socket.create_connection((alone.base_url.host, alone.base_url.port or 0)) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        reply = raw.makefile("rb").read()
    head, _, text = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    told = httpx.Response(503, content=text).json()
    assert told["instance"] in {"/", path.partition("?")[0]}


def test_metrics_are_not_for_everybody(alone: httpx.Client) -> None:
    problem(alone.get("/metrics"), 404, "not_found")
    page(alone.get("/metrics", headers=BROWSER), 404, "Nothing is here")
