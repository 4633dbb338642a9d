"""Questions with their pictures in one file: drawn beforehand, they cost a device no time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

from bench.workload import Question, different_pictures, one_picture

_QUESTIONS = "questions.json"


def drawn(count: int, seed: int) -> dict[str, list[Question]]:
    """Draw the questions of a run: as many of different pictures, and about one picture."""
    return {
        "different pictures": different_pictures(count, seed),
        "one picture": one_picture(count, seed),
    }


def save(questions: dict[str, list[Question]], path: Path) -> None:
    """Write questions into one file; a picture that several ask about is in it once."""
    pictures: dict[bytes, str] = {}
    told = {
        name: [
            {
                "text": question.text,
                "picture": pictures.setdefault(question.picture, f"{len(pictures):05}.jpg"),
            }
            for question in asked
        ]
        for name, asked in questions.items()
    }
    with ZipFile(path, "w") as archive:
        archive.writestr(_QUESTIONS, json.dumps(told, ensure_ascii=False))
        for data, name in pictures.items():
            archive.writestr(name, data)


def load(path: Path) -> dict[str, list[Question]]:
    """Read what `save` wrote."""
    with ZipFile(path) as archive:
        pictures = {name: archive.read(name) for name in archive.namelist() if name != _QUESTIONS}
        told = json.loads(archive.read(_QUESTIONS))
    return {
        name: [Question(pictures[one["picture"]], one["text"]) for one in asked]
        for name, asked in told.items()
    }


def first(questions: Sequence[Question], count: int) -> list[Question]:
    """Return the first `count` questions, from the start again where there are fewer."""
    return [questions[i % len(questions)] for i in range(count)]
