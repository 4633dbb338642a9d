"""Questions that were drawn beforehand are those that would be drawn."""

from pathlib import Path
from zipfile import ZipFile

from click.testing import CliRunner

from bench.__main__ import main
from bench.gpu.pictures import drawn, first, load


def test_a_file_of_questions_holds_what_is_drawn_and_each_picture_once(tmp_path: Path) -> None:
    path = tmp_path / "questions.zip"
    result = CliRunner().invoke(main, ["pictures", str(path), "--count", "3", "--seed", "4"])
    assert result.exit_code == 0, result.output
    assert load(path) == drawn(3, seed=4)
    with ZipFile(path) as archive:
        assert len(archive.namelist()) == 3 + 1 + 1, "three pictures, one, and the questions"


def test_questions_begin_again_where_there_are_fewer() -> None:
    (question,) = drawn(1, seed=1)["one picture"]
    assert first([question], 3) == [question] * 3
