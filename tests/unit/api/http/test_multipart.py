"""Forms as different clients write them, and what is no form."""

import tempfile

import pytest
from PIL import Image
from werkzeug import formparser

from tests.unit.api.conftest import PNG, QUESTION, Caller, assert_problem
from tests.unit.api.forms import BOUNDARY, MIME, File, written
from tests.unit.api.pictures import encoded

PARTS: dict[str, str | File] = {"question": QUESTION, "image": ("panel.png", PNG)}


def part(disposition: str, content: bytes, mime: str = "") -> bytes:
    head = [f"--{BOUNDARY}", f"Content-Disposition: {disposition}"]
    head += [f"Content-Type: {mime}"] if mime else []
    return "\r\n".join([*head, "", ""]).encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def asked(api: Caller, sent: bytes) -> str:
    response = api("POST", "/v1/jobs", data=sent, content_type=MIME)
    assert response.status_code == 202, response.text
    return str(response.json["question"])  # type: ignore[index]


PICTURE = part('form-data; name="image"; filename="a.png"', PNG, "image/png")


def test_a_browsers_form_is_taken(api: Caller) -> None:
    assert asked(api, written(PARTS)) == QUESTION


def test_a_form_may_have_something_before_and_after_it(api: Caller) -> None:
    assert asked(api, b"whoever reads this\r\n" + written(PARTS) + b"and this\r\n") == QUESTION


def test_a_file_may_be_named_as_old_clients_name_it(api: Caller) -> None:
    name = "form-data; name=\"image\"; filename*=utf-8''bl%C3%A4tter.png"
    question = part('form-data; name="question"', QUESTION.encode())
    assert asked(api, form(question, part(name, PNG))) == QUESTION


@pytest.mark.parametrize(
    ("mime", "charset"),
    [("", "utf-8"), ("text/plain; charset=iso-8859-1", "iso-8859-1"), ("text/plain", "utf-8")],
)
def test_a_field_says_in_which_letters_it_is_written(api: Caller, mime: str, charset: str) -> None:
    question = part('form-data; name="question"', "Für wen?".encode(charset), mime)
    assert asked(api, form(PICTURE, question)) == "Für wen?"


@pytest.mark.parametrize(
    "sent",
    [
        b"no form at all",
        written(PARTS)[:-60],
        form(part("attachment", b"x")),
        written(PARTS).replace(b"\r\n", b"\n"),
        f"--{BOUNDARY}\r\nno header\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(),
    ],
    ids=["no form", "cut off", "no name", "line feeds alone", "no header"],
)
def test_what_is_no_form_is_said_to_be_none(api: Caller, sent: bytes) -> None:
    response = api("POST", "/v1/jobs", data=sent, content_type=MIME)
    assert_problem(response, 400, "malformed_request")


def test_a_form_without_a_boundary_is_none(api: Caller) -> None:
    response = api("POST", "/v1/jobs", data=written(PARTS), content_type="multipart/form-data")
    assert_problem(response, 400, "malformed_request")


def test_no_file_of_a_form_comes_near_a_disk(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def written_down(*_: object, **__: object) -> None:
        pytest.fail("a picture was written to a temporary file")

    for name in ("SpooledTemporaryFile", "TemporaryFile", "NamedTemporaryFile"):
        monkeypatch.setattr(tempfile, name, written_down)
    monkeypatch.setattr(formparser, "SpooledTemporaryFile", written_down)
    noise = Image.effect_noise((700, 500), 90).convert("RGB")
    large = encoded(noise, "PNG")
    assert len(large) > 500_000
    assert asked(api, written({**PARTS, "image": ("large.png", large)})) == QUESTION


def test_too_many_parts_are_too_large(api: Caller) -> None:
    parts = [part('form-data; name="stop"', b"x")] * 65
    response = api("POST", "/v1/jobs", data=form(PICTURE, *parts), content_type=MIME)
    assert_problem(response, 413, "body_too_large")


def test_a_text_that_no_field_has_is_too_large(api: Caller) -> None:
    question = part('form-data; name="question"', b"a" * 262_145)
    response = api("POST", "/v1/jobs", data=form(PICTURE, question), content_type=MIME)
    assert_problem(response, 413, "body_too_large")
