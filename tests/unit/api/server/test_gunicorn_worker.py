"""What our worker overrides or calls of gunicorn's threaded one, which promises none of it.

Each test fails where a version of gunicorn has one of these no more, or calls it no more.
"""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path
from typing import Any

import pytest
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers import gthread
from packaging.requirements import Requirement

from api.server.gunicorn_worker import Reception, _Clocked

ROOT = Path(__file__).parents[4]
OURS = {"_receive", "_hand_over", "_release", "_refuse", "_see_off", "_drain", "_forget", "_close"}
"""Private methods that override nothing; all other methods of ours do."""


def methods(kind: type) -> dict[str, Any]:
    """The methods that a class itself defines, besides its making."""
    return {
        name: value
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and name != "__init__"
    }


def source(*path: str) -> str:
    """The text of something in gunicorn's threaded worker."""
    found: Any = gthread
    for name in path:
        found = getattr(found, name)
    return inspect.getsource(found)


def test_only_versions_are_installed_that_have_what_is_overridden() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    [gunicorn] = [found for text in wanted if (found := Requirement(text)).name == "gunicorn"]
    taken = gunicorn.specifier.contains
    assert [taken(version) for version in ("26.9", "27.0.1", "27.9", "28.0")] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "own"),
    [(Reception, gthread.ThreadWorker, OURS), (_Clocked, SocketUnreader, set())],
)
def test_whatever_is_overridden_is_there_and_takes_as_much(
    ours: type, theirs: type, own: set[str]
) -> None:
    overridden = {name: value for name, value in methods(ours).items() if name not in own}
    assert overridden
    for name, method in overridden.items():
        original = getattr(theirs, name, None)
        assert original is not None, f"{theirs.__name__}.{name} is gone"
        wanted, given = inspect.signature(original), inspect.signature(method)
        assert len(wanted.parameters) == len(given.parameters), name


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("enqueue_req", ("ThreadWorker", "accept")),
        ("enqueue_req", ("ThreadWorker", "on_client_socket_readable")),
        ("handle", ("ThreadWorker", "enqueue_req")),
        ("finish_request", ("ThreadWorker", "enqueue_req")),
        ("_keepalive_after", ("ThreadWorker", "handle")),
        ("handle_error", ("ThreadWorker", "handle")),
        ("is_parent_alive", ("ThreadWorker", "run")),
        ("murder_pending", ("ThreadWorker", "run")),
    ],
)
def test_whatever_is_overridden_is_still_called(name: str, by: tuple[str, str]) -> None:
    assert f"self.{name}" in source(*by)


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (gthread.TConn, ("init", "close")),
        (gthread.PollableMethodQueue, ("defer",)),
        (SocketUnreader, ("take_buffered", "unread", "chunk")),
    ],
)
def test_whatever_is_called_is_there(owner: type, names: tuple[str, ...]) -> None:
    assert [name for name in names if not callable(getattr(owner, name, None))] == []


@pytest.mark.parametrize(
    ("owner", "attributes"),
    [
        ("ThreadWorker", ("nr_conns", "poller", "method_queue", "tpool")),
        ("TConn", ("sock", "parser", "data_ready")),
    ],
)
def test_whatever_is_read_or_set_is_there(owner: str, attributes: tuple[str, ...]) -> None:
    made = source(owner, "__init__")
    assert [name for name in attributes if f"self.{name} = " not in made] == []
