"""nginx's configuration agrees with the API and with those who start nginx."""

import json
import re
from typing import Any

import crossplane
import pytest

from api.console.i18n import language
from api.http.errors import body
from api.jobs.long_polling import LONGEST_WAIT_S
from api.openapi.error_codes import faults
from api.server import gunicorn_conf
from jobs.errors import JobsError
from jobs.settings import Settings
from tests.deployment import DEPLOY, ROOT, SERVICES, command_of, manifests, seconds


@pytest.fixture(scope="module")
def parsed() -> dict[str, Any]:
    """The configuration as crossplane reads it."""
    found: dict[str, Any] = crossplane.parse(str(DEPLOY / "nginx.conf"))
    assert found["status"] == "ok", found["errors"]
    return found


@pytest.fixture(scope="module")
def maps(parsed: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What each map says, by the variable that it makes."""
    [http] = [part for part in parsed["config"][0]["parsed"] if part["directive"] == "http"]
    return {
        part["args"][1]: {line["directive"]: line["args"][0] for line in part["block"]}
        for part in http["block"]
        if part["directive"] == "map"
    }


@pytest.fixture(scope="module")
def directives(parsed: dict[str, Any]) -> dict[str, list[list[str]]]:
    """All directives by name, each with its arguments as often as it stands there."""
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
    assert int(limit) == Settings.model_fields["max_body_bytes"].default
    assert "LLAVA_JOBS_MAX_BODY_BYTES" not in (ROOT / "docker-compose.yml").read_text()
    assert of_files == "0", "the API's setting decides alone"
    assert directives["proxy_request_buffering"] == [["off"]], "before any of it lies here"


def test_what_it_refuses_itself_it_says_in_the_words_of_the_api_and_of_the_pages(
    maps: dict[str, dict[str, str]],
) -> None:
    for status, text in maps["$problem"].items():
        told = json.loads(text.replace("$instance", "/v1/jobs").replace("\\n", ""))
        error = JobsError(told["detail"], code=told["error"]["code"])
        error.status, error.title = int(status), told["title"]
        assert told == json.loads(body(error, "/v1/jobs"))
        assert int(status) in faults("calls")[error.code].statuses
        english, chinese = language("en"), language("zh")
        name = f"refusal.{status}"
        assert maps["$title"][status] == english(f"{name}.title")
        assert maps["$said"][status] == f"{english(f'{name}.cause')} {english(f'{name}.next')}"
        words = chinese(f"{name}.cause") + chinese(f"{name}.next")
        assert maps["$said_in_chinese"][status] == words


def test_each_status_that_it_refuses_with_has_its_words(
    directives: dict[str, list[list[str]]], maps: dict[str, dict[str, str]]
) -> None:
    refused = directives["error_page"]
    assert {place for *_, place in refused} == {"$refused"}
    told = {re.sub("=", "", ([s for s in words if "=" in s] or words)[0]) for words in refused}
    assert told == set(maps["$problem"]) == {"404", "413", "503"}
    assert {code for words in refused for code in words if code.isdecimal()} >= {
        *("413", "502", "503", "504")
    }


def test_it_waits_longer_than_the_api_lets_callers_wait(
    directives: dict[str, list[list[str]]],
) -> None:
    [[longest]] = directives["proxy_read_timeout"]
    assert seconds(longest) > Settings.model_fields["chat_timeout_s"].default + 10
    assert seconds(longest) > LONGEST_WAIT_S + 10
    kept = [seconds(args[0]) for args in directives["keepalive_timeout"]]
    assert min(kept) < gunicorn_conf.keepalive  # the upstream's: nginx hangs up first


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
