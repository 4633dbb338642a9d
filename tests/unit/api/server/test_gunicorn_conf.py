"""Whose word is taken for where a request came from."""

from types import SimpleNamespace

import pytest
from flask import Flask, request
from gunicorn.config import Config

from api.server import gunicorn_conf

VISITOR = "203.0.113.9"


@pytest.mark.parametrize(
    ("allowed", "peer", "seen"),
    [
        ("10.1.2.3", "10.1.2.3", VISITOR),
        ("10.0.0.0/8", "10.1.2.3", VISITOR),
        ("192.0.2.1, 10.0.0.0/8", "10.1.2.3", VISITOR),
        ("fd00::/8", "fd00::1", VISITOR),
        ("*", "10.1.2.3", VISITOR),
        ("*,127.0.0.1", "10.1.2.3", VISITOR),
        ("10.0.0.0/8", "", VISITOR),
        ("10.0.0.0/8", "11.1.2.3", "11.1.2.3"),
        ("10.0.0.0/8", "fd00::1", "fd00::1"),
        ("", "127.0.0.1", "127.0.0.1"),
    ],
)
def test_only_a_trusted_proxy_says_where_a_visitor_is(allowed: str, peer: str, seen: str) -> None:
    app = Flask("seen")
    app.add_url_rule("/", "address", lambda: request.remote_addr or "")
    settings = Config()
    settings.set("forwarded_allow_ips", allowed)
    gunicorn_conf.post_worker_init(SimpleNamespace(wsgi=app, cfg=settings, alive=True))
    answer = app.test_client().get(
        "/", headers={"X-Forwarded-For": VISITOR}, environ_base={"REMOTE_ADDR": peer}
    )
    assert answer.text == seen
