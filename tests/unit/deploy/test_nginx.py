"""nginx's configuration agrees with the API and with those who start nginx."""

import re
from typing import Any

import crossplane
import pytest

from api import serving
from api.waiting import LONGEST_WAIT_S
from jobs.settings import Settings
from tests.deployment import DEPLOY, ROOT, SERVICES, command_of, manifests, seconds


@pytest.fixture(scope="module")
def directives() -> dict[str, list[list[str]]]:
    """All directives by name, each with its arguments as often as it stands there."""
    parsed = crossplane.parse(str(DEPLOY / "nginx.conf"))
    assert parsed["status"] == "ok", parsed["errors"]
    found: dict[str, list[list[str]]] = {}

    def walk(block: list[dict[str, Any]]) -> None:
        for directive in block:
            found.setdefault(directive["directive"], []).append(directive["args"])
            walk(directive.get("block", []))

    walk(parsed["config"][0]["parsed"])
    return found


def test_the_ports_agree(directives: dict[str, list[list[str]]]) -> None:
    [[listens]] = directives["listen"]
    [published] = SERVICES["nginx"]["ports"]
    assert published.rsplit(":", 1)[1] == listens
    assert f"127.0.0.1:{listens}/" in SERVICES["nginx"]["healthcheck"]["test"][-1]
    host, port = directives["server"][0][0].split(":")
    assert host in SERVICES
    assert f"0.0.0.0:{port}" in command_of(host)
    dockerfile = (ROOT / SERVICES[host]["build"]["dockerfile"]).read_text()
    assert f"EXPOSE {port}" in dockerfile
    assert f"127.0.0.1:{port}/healthz" in dockerfile
    pod = manifests()["Deployment/api"]["spec"]["template"]["spec"]
    in_pod = {c["name"]: c["ports"][0]["containerPort"] for c in pod["containers"]}
    assert in_pod == {"api": int(port), "nginx": int(listens)}
    assert pod["hostAliases"] == [{"ip": "127.0.0.1", "hostnames": [host]}]


def test_it_takes_bodies_as_large_as_the_api_does(directives: dict[str, list[list[str]]]) -> None:
    [[limit], [of_files]] = directives["client_max_body_size"]
    assert of_files == "256m"
    assert int(limit) == Settings.model_fields["max_body_bytes"].default
    assert "LLAVA_JOBS_MAX_BODY_BYTES" not in (ROOT / "docker-compose.yml").read_text()


def test_it_waits_longer_than_the_api_lets_callers_wait(
    directives: dict[str, list[list[str]]],
) -> None:
    [[longest]] = directives["proxy_read_timeout"]
    assert seconds(longest) > Settings.model_fields["chat_timeout_s"].default + 10
    assert seconds(longest) > LONGEST_WAIT_S + 10
    kept = [seconds(args[0]) for args in directives["keepalive_timeout"]]
    assert min(kept) < serving.keepalive  # the upstream's: nginx hangs up first


def test_it_says_how_it_was_called_and_drops_what_a_caller_says_of_that(
    directives: dict[str, list[list[str]]],
) -> None:
    sent = dict(directives["proxy_set_header"])
    assert sent["Host"] == "$http_host"
    assert sent["X-Forwarded-For"] == "$remote_addr"
    assert sent["X-Request-ID"] == "$request_id"
    assert sent["X-Forwarded-Protocol"] == sent["X-Forwarded-Ssl"] == ""


def test_its_log_has_neither_query_nor_header(directives: dict[str, list[list[str]]]) -> None:
    [written] = directives["log_format"]
    variables = set(re.findall(r"\$(\w+)", " ".join(written)))
    assert variables.isdisjoint({"request", "request_uri", "args", "query_string", "remote_user"})
    assert not any(name.startswith(("http_", "arg_", "cookie_")) for name in variables)


def test_all_that_it_writes_is_where_it_may_write(directives: dict[str, list[list[str]]]) -> None:
    places = [directives[name][0][0] for name in directives if name.endswith("_temp_path")]
    assert len(places) == 5
    assert all(place.startswith("/tmp/") for place in [*places, directives["pid"][0][0]])  # noqa: S108
    assert "user" not in directives
