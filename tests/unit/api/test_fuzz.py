"""Whatever a caller sends, the fault is told as its own: never a 5xx."""

import json
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.unit.api.conftest import DATA_URI, Caller, assert_problem, body

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


@HURRIED
@given(
    header=st.sampled_from(["Prefer", "Idempotency-Key", "If-None-Match", "Authorization"]),
    value=st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40),
)
def test_any_header(api: Caller, header: str, value: str) -> None:
    assert_never_ours(api("GET", "/v1/jobs/job_1", headers={header: value}))
