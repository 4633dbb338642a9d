"""`llava-jobs batch`: many pictures asked about, answers written as they come, resumable."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from jobs.errors import ConfigurationError
from llava_jobs.client import Client

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"})
COLUMNS = ("picture", "question", "status", "answer", "error", "job")


@dataclass(frozen=True)
class Ask:
    """One row of a batch: a picture's path as it was given, and the question about it."""

    picture: str
    question: str


def read_asks(source: Path, question: str | None) -> list[Ask]:
    """Return what a folder of pictures, or a CSV with the columns picture and question, asks.

    ``question`` is asked where a row has none. Raises ConfigurationError where there is nothing to
    ask, a picture is missing, or a question is, and where a CSV cannot be read.
    """
    if source.is_dir():
        rows = [
            {"picture": str(path)}
            for path in sorted(source.iterdir())
            if path.suffix.lower() in PICTURES
        ]
    else:
        rows = _read_csv(source)
    asks = [Ask(row.get("picture") or "", row.get("question") or question or "") for row in rows]
    if not asks:
        raise ConfigurationError(f"{source} names no pictures ({', '.join(sorted(PICTURES))})")
    for number, ask in enumerate(asks, 1):
        if not ask.question:
            raise ConfigurationError(f"row {number} has no question: give one with --question")
        if not Path(ask.picture).is_file():
            raise ConfigurationError(f"row {number}: there is no file {ask.picture!r}")
    return asks


def _read_csv(source: Path) -> list[dict[str, str]]:
    with source.open(newline="", encoding="utf-8-sig") as lines, _readable(source):
        reader = csv.DictReader(lines)
        columns = reader.fieldnames or ()
        rows = list(reader)
    if "picture" not in columns:
        found = ", ".join(columns) or "none"
        raise ConfigurationError(
            f"{source} must have a column picture, and may have question; its columns: {found}"
        )
    return rows


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} is not UTF-8; save it as UTF-8") from None
    except csv.Error as error:
        raise ConfigurationError(f"{file} cannot be read as CSV: {error}") from None


class Answers:
    """A file of answers, JSONL or CSV by its name, which grows row by row.

    Raises ConfigurationError where no such file can be made there.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in (".jsonl", ".csv"):
            raise ConfigurationError(f"{path} must end in .jsonl or .csv")
        if not path.parent.is_dir():
            raise ConfigurationError(f"there is no folder {path.parent}; make it first")
        self._path = path
        self._is_csv = path.suffix.lower() == ".csv"

    def answered(self) -> set[Ask]:
        """Return what the file has answers to: what failed is to be asked again."""
        if not self._path.exists():
            return set()
        self._end_line()
        with self._path.open(newline="", encoding="utf-8") as lines, _readable(self._path):
            rows = list(csv.DictReader(lines) if self._is_csv else _whole_lines(lines))
        if not all("picture" in row and "question" in row for row in rows):
            raise ConfigurationError(f"{self._path} holds something else; name another file")
        return {
            Ask(row["picture"], row["question"]) for row in rows if row.get("status") == "succeeded"
        }

    def _end_line(self) -> None:
        """What was cut off in the middle of a row must not swallow the next one."""
        with self._path.open("rb+") as file:
            if file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                file.write(b"\n")

    def add(self, ask: Ask, job: dict[str, Any]) -> None:
        """Add a job's row, on disk when this returns."""
        row = {
            "picture": ask.picture,
            "question": ask.question,
            "status": job["status"],
            "answer": (job["answer"] or {}).get("text"),
            "error": (job["error"] or {}).get("message"),
            "job": job["id"],
        }
        is_new = not self._path.exists() or self._path.stat().st_size == 0
        with self._path.open("a", newline="", encoding="utf-8") as file:
            if self._is_csv:
                writer = csv.DictWriter(file, COLUMNS)
                if is_new:
                    writer.writeheader()
                writer.writerow(row)
            else:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _whole_lines(lines: TextIO) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # cut off in the middle, as by a full disk: it is asked again
        yield row if isinstance(row, dict) else {}


def run_batch(
    client: Client, asks: Sequence[Ask], answers: Answers, in_flight: int, *, progress: bool
) -> tuple[int, int]:
    """Ask what has no answer yet; returns how many were asked, and how many of these failed."""
    done = answers.answered()
    left = [ask for ask in dict.fromkeys(asks) if ask not in done]
    failed = 0
    questions = [(Path(ask.picture), ask.question) for ask in left]
    for number, job in client.map(questions, in_flight=in_flight, progress=progress):
        answers.add(left[number], job)
        failed += job["status"] != "succeeded"
    return len(left), failed
