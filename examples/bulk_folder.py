"""Ask one question about every picture of a folder, answers into a CSV; run it again to go on.

    python -m examples.bulk_folder demo/pictures answers.csv "What is the error code?"

LLAVA_JOBS_URL names the API, LLAVA_JOBS_API_KEY the key. (`llava-jobs batch` does the same with
more options; this shows how few lines it takes.)
"""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

from llava_jobs import Client

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"}


def run(client: Client, folder: Path, out: Path, question: str) -> int:
    """Ask about the pictures that have no answer in ``out`` yet; returns how many these were."""
    out.touch()
    with out.open(newline="", encoding="utf-8") as rows:
        done = {row[0] for row in csv.reader(rows) if len(row) == 3 and row[1] == "succeeded"}
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    left = [path for path in found if path.name not in done]
    with out.open("a", newline="", encoding="utf-8") as file:
        answers = csv.writer(file)
        for number, job in client.map([(path, question) for path in left], progress=False):
            said = job["answer"]["text"] if job["answer"] else (job["error"] or {}).get("code")
            answers.writerow([left[number].name, job["status"], said])
            file.flush()
    return len(left)


def main() -> None:
    """Do it as the command line says."""
    folder, out, question = sys.argv[1:]
    url = os.environ.get("LLAVA_JOBS_URL", "http://127.0.0.1:8000")
    with Client(url, os.environ["LLAVA_JOBS_API_KEY"]) as client:
        print(run(client, Path(folder), Path(out), question), "asked")


if __name__ == "__main__":
    main()
