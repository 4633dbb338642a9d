"""`llava-jobs batch` says in one line what it cannot read or write, before anything is asked."""

from pathlib import Path

import pytest

from jobs.errors import ConfigurationError
from llava_jobs.batch import Answers, Ask, read_asks
from tests.installations import run


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("picture,question\na.png,Größe?\n".encode("latin-1"), "not UTF-8"),
        (b"Picture;Question\na.png;What?\n", "its columns: Picture;Question"),
        (b"file,note\na.png,What?\n", "its columns: file, note"),
        (b"", "its columns: none"),
        (b"picture,question\n" + b"x" * 200_000 + b",What?\n", "cannot be read as CSV"),
    ],
)
def test_a_csv_that_cannot_be_read_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    source = tmp_path / "asked.csv"
    source.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said) as told:
        read_asks(source, "What?")
    assert str(source) in str(told.value)


@pytest.mark.parametrize(
    ("name", "said"), [("out.txt", r"\.jsonl or \.csv"), ("none/out.csv", "no folder")]
)
def test_a_file_of_answers_that_cannot_be_is_told(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Answers(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("out.csv", b"name,price\nx,1\n"),
        ("out.jsonl", b'{"name": "x"}\n'),
        ("out.jsonl", b"[1]\n"),
        ("out.csv", b"picture,question\nGr\xf6\xdfe,x\n"),
    ],
)
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, name: str, content: bytes) -> None:
    out = tmp_path / name
    out.write_bytes(content)
    with pytest.raises(ConfigurationError, match=name):
        Answers(out).answered()
    assert out.read_bytes() == content


def test_characters_at_which_some_readers_end_a_line_end_no_row(tmp_path: Path) -> None:
    ask = Ask("a.png", "What\u2028is\u0085this?")
    answer = {"id": "job_1", "status": "succeeded", "answer": {"text": "\u2029"}, "error": None}
    for name in ("out.csv", "out.jsonl"):
        answers = Answers(tmp_path / name)
        answers.add(ask, answer)
        assert answers.answered() == {ask}


def test_the_command_tells_these_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "asked.csv").write_bytes(b"Picture;Question\n")
    out = str(tmp_path / "out.csv")
    status, text = run("batch", str(tmp_path / "asked.csv"), out, api_key="lj_x")
    assert (status, text.count("\n")) == (1, 1)
    assert text.startswith("llava-jobs: ")


def test_a_url_without_a_scheme_is_read_as_browsers_read_it(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"x")
    status, text = run("ask", str(picture), "What?", "--url", "localhost:1", api_key="lj_x")
    assert status == 1
    assert "no API answers at that URL" in text


@pytest.mark.parametrize("url", ["ftp://localhost", "http://localhost:port"])
def test_what_is_no_url_is_told_in_one_line(tmp_path: Path, url: str) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"x")
    status, text = run("ask", str(picture), "What?", "--url", url, api_key="lj_x")
    assert (status, text.count("\n")) == (1, 1)
    assert "http://host:port" in text


def test_an_empty_question_is_not_asked(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"x")
    status, text = run("ask", str(picture), " ", api_key="lj_x")
    assert status == 2
    assert "QUESTION" in text
    assert "empty" in text
