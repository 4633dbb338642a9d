"""Whatever a caller sends, the fault is told as its own: never a 5xx."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from jobs.keys import Keys, Scope
from tests.unit.api.conftest import DATA_URI, Caller, assert_problem, body
from tests.unit.api.forms import MIME, File, written_in_order

SCALARS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["user", "high", "30s", DATA_URI, "demo", "\0", "text", "image_url"])
)
NAMES = st.sampled_from(
    [
        *("question", "images", "messages", "model", "max_new_tokens", "temperature", "top_p"),
        *("priority", "deadline", "group", "metadata", "data", "role", "content", "type", "text"),
        *("top_k", "seed", "stop", "detail"),
        *("image_url", "url", "webhook", "cache", "previous_job_id", "supersede"),
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
HURRIED = settings(
    max_examples=100,
    deadline=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def all_may(api: Caller, client: Any) -> Caller:
    """A caller with a key that may do everything."""
    return Caller(api.http, Keys(client).create("acme", scopes=list(Scope)))


def assert_never_ours(response: Any) -> None:
    """Hold an answer to acceptance or to a problem of the caller's own."""
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert_problem(
            response, response.status_code, response.get_json(force=True)["error"]["code"]
        )


@HURRIED
@given(changes=st.dictionaries(NAMES, VALUES, max_size=3))
def test_a_sound_body_with_some_fields_changed(api: Caller, changes: dict[str, Any]) -> None:
    assert_never_ours(api("POST", "/v1/jobs", json={**body(), **changes}))


@HURRIED
@given(value=VALUES)
def test_any_json(api: Caller, value: Any) -> None:
    assert_never_ours(api("POST", "/v1/jobs", json=value))


@HURRIED
@given(text=st.binary(max_size=40), at=st.integers(0, 200))
def test_a_sound_body_with_bytes_thrown_in(api: Caller, text: bytes, at: int) -> None:
    whole = json.dumps({"question": "x", "metadata": {}, "images": []}).encode()
    torn = whole[:at] + text + whole[at:]
    assert_never_ours(api("POST", "/v1/jobs", data=torn, content_type="application/json"))


URLISH = st.builds(
    str.__add__, st.sampled_from(["", "http://", "//"]), st.text("[]:/@%?#.1ax", max_size=12)
)
DIGITS = st.text("019\u0661\uff12", min_size=1, max_size=9)
"""Digits, also of other scripts than the one that the store reads."""
NUMBERISH = DIGITS | st.builds("-{}".format, DIGITS) | st.builds("{}.{}".format, DIGITS, DIGITS)
CURSORISH = st.builds("{}-{}".format, DIGITS, DIGITS)
WORDS = st.text(max_size=20) | URLISH | NUMBERISH
HEADERS = st.sampled_from(
    [
        *("Prefer", "Idempotency-Key", "If-None-Match", "Authorization", "Origin", "Referer"),
        *("Last-Event-ID", "Accept", "Accept-Language", "Range", "X-Forwarded-For", "Cookie"),
        *("traceparent", "Sec-Fetch-Site", "X-Request-ID", "Content-Type", "HX-Request"),
    ]
)
JOB = "/v1/jobs/job_" + "0" * 32


def latin(text: str) -> str:
    """A text as a header can carry it."""
    return text.encode().decode("latin-1").translate({10: None, 13: None})


@HURRIED
@given(
    call=st.sampled_from(
        [("GET", JOB), ("GET", "/v1/events"), ("POST", "/v1/jobs"), ("POST", "/v1/files")]
    ),
    header=HEADERS,
    value=WORDS,
)
def test_any_header(api: Caller, call: tuple[str, str], header: str, value: str) -> None:
    assert_never_ours(api(*call, headers={header: latin(value)}))


@HURRIED
@given(
    call=st.sampled_from(
        [("GET", "/sign-in"), ("POST", "/sign-in"), ("POST", "/ask"), ("GET", "/")]
    ),
    header=HEADERS,
    value=WORDS,
)
@example(call=("POST", "/sign-in"), header="Origin", value="http://[")
def test_any_header_of_a_page(api: Caller, call: tuple[str, str], header: str, value: str) -> None:
    method, path = call
    response = api.http.open(path, method=method, headers={header: latin(value)})
    assert response.status_code < 500, response.text


QUERIES = st.sampled_from(
    [
        *(("/v1/events", "after"), ("/v1/events", "limit"), ("/v1/jobs", "after")),
        *(("/v1/jobs", "group"), ("/v1/jobs", "ids"), ("/v1/files", "after")),
        *(("/v1/batches", "limit"), ("/v1/admin/keys", "after"), ("/v1/admin/tenants", "after")),
    ]
)


@HURRIED
@given(query=QUERIES, value=WORDS | CURSORISH)
@example(query=("/v1/events", "after"), value="\u0661-\u0661")
def test_any_query(api: Caller, all_may: Caller, query: tuple[str, str], value: str) -> None:
    path, name = query
    assert_never_ours(all_may("GET", path, query_string={name: value}))


SHAPES = st.sampled_from(["", "", "[]", "[anchor]", "[seconds]", "[a][b]", "[", "]"])
FORM_VALUES = WORDS | st.sampled_from(["batch", "created_at", "3600", "{}", "[1]", "high"])
FORMS = st.sampled_from(
    [
        ("/v1/files", ("purpose", "expires_after")),
        ("/v1/jobs", ("question", "metadata", "webhook", "stop", "detail", "images")),
        ("/v1/images", ("image", "data")),
    ]
).flatmap(
    lambda form: st.tuples(
        st.just(form[0]),
        st.lists(
            st.tuples(st.builds(str.__add__, st.sampled_from(form[1]), SHAPES), FORM_VALUES),
            max_size=6,
        ),
    )
)
"""Forms whose fields come more than once, and as what they are not."""


@HURRIED
@given(form=FORMS, file=st.sampled_from(["file", "image", "question", "expires_after"]))
@example(
    form=("/v1/files", [("expires_after", "x"), ("expires_after[anchor]", "created_at")]),
    file="file",
)
@example(
    form=("/v1/files", [("expires_after[anchor]", "created_at"), ("expires_after", "x")]),
    file="file",
)
def test_any_form(api: Caller, form: tuple[str, list[tuple[str, str]]], file: str) -> None:
    path, fields = form
    parts: list[tuple[str, str | File]] = [*fields, (file, ("a.jsonl", b"{}"))]
    assert_never_ours(api("POST", path, data=written_in_order(parts), content_type=MIME))
