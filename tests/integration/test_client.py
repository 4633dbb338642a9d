"""The project's own client and `llava-jobs batch`, against a whole installation."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from llava_jobs.client import ApiError, Client
from llava_jobs.demo import PICTURES
from tests.installations import Installation, run
from tests.integration.conftest import TRUTHS

QUESTION = "Read the fault code."


def test_many_questions_are_answered_each_under_its_own_number(asker: Client) -> None:
    asked = [(PICTURES / example["picture"], example["question"]) for example in TRUTHS]
    found = dict(asker.map(asked, in_flight=7, progress=False))
    assert [found[number]["answer"]["text"] for number in range(len(TRUTHS))] == [
        example["answer"] for example in TRUTHS
    ]


def test_what_is_streamed_is_the_answer(asker: Client) -> None:
    example = TRUTHS[0]
    job = asker.submit(PICTURES / example["picture"], example["question"], cache="false")
    events = list(asker.stream(job["id"]))
    assert events[-1].kind == "done"
    assert events[-1].data["status"] == "succeeded"
    text = "".join(event.data["text"] for event in events if event.kind == "token")
    assert text.strip() == example["answer"]


def test_a_refusal_has_the_apis_code(asker: Client) -> None:
    with pytest.raises(ApiError) as refused:
        asker.submit(b"no picture", QUESTION)
    assert (refused.value.status, refused.value.code) == (415, "image_unsupported")
    with pytest.raises(ApiError) as unknown:
        list(asker.stream("job_" + "0" * 32))
    assert unknown.value.status == 404


def batch(answering: Installation, *arguments: str) -> tuple[int, str]:
    """Run `llava-jobs batch` with that installation's key."""
    return run("batch", "--url", answering.url, *arguments, api_key=answering.key)


def test_a_folder_is_asked_about_and_a_repeat_asks_what_is_left(
    answering: Installation, tmp_path: Path
) -> None:
    out = tmp_path / "answers.jsonl"
    status, said = batch(answering, str(PICTURES), str(out), "--question", QUESTION)
    assert status == 0, said
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    names = {path.name for path in PICTURES.iterdir() if path.suffix in (".jpg", ".png")}
    assert {Path(row["picture"]).name for row in rows} == names
    assert {row["status"] for row in rows} == {"succeeded"}
    assert "The code is E42." in {row["answer"] for row in rows}

    lines = out.read_text().splitlines()
    out.write_text("\n".join([*lines[:-1], lines[-1][:20]]))
    status, said = batch(answering, str(PICTURES), str(out), "--question", QUESTION)
    assert status == 0, said
    assert said.startswith("1 asked, 1 answered, ")


def test_a_bad_picture_gets_a_row_and_the_exit_status_tells_of_it(
    answering: Installation, tmp_path: Path
) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "answers.jsonl"
    pictures.mkdir()
    shutil.copy(PICTURES / "landscape.jpg", pictures / "b.jpg")
    (pictures / "a.png").write_text("hello")
    status, said = batch(answering, str(pictures), str(out), "--question", QUESTION)
    assert status == 1
    assert said.startswith("2 asked, 1 answered, 0 had answers")
    assert "1 have no answer" in said
    rows = {Path(row["picture"]).name: row for row in map(json.loads, out.read_text().splitlines())}
    assert "the picture must be" in rows["a.png"]["error"]
    assert rows["b.jpg"]["answer"] == "The code is E42."

    (pictures / "a.png").unlink()
    status, said = batch(answering, str(pictures), str(out), "--question", QUESTION)
    assert (status, said.split(":")[0]) == (0, "0 asked, 0 answered, 1 had answers")


def test_a_csv_names_pictures_and_questions_and_answers_go_into_one(
    answering: Installation, tmp_path: Path
) -> None:
    asked, out = tmp_path / "asked.csv", tmp_path / "answers.csv"
    picture = PICTURES / "landscape.jpg"
    asked.write_text(f"picture,question\n{picture},错误代码是多少？\n{picture},\n")
    status, said = batch(answering, str(asked), str(out), "--question", QUESTION)
    assert status == 0, said
    with out.open(newline="") as lines:
        answers = {row["question"]: row["answer"] for row in csv.DictReader(lines)}
    assert answers == {"错误代码是多少？": "代码是 E42。", QUESTION: "The code is E42."}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("picture,question\n", "names no pictures"),
        ("picture,question\nnone.png,What?\n", "there is no file"),
        ("picture,question\nnone.png,\n", "--question"),
    ],
)
def test_a_batch_that_cannot_be_says_why_before_anything_is_asked(
    answering: Installation, tmp_path: Path, rows: str, told: str
) -> None:
    asked = tmp_path / "asked.csv"
    asked.write_text(rows)
    status, said = batch(answering, str(asked), str(tmp_path / "out.csv"))
    assert status == 1
    assert told in said
    assert not (tmp_path / "out.csv").exists()
