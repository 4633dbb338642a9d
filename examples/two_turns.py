"""Ask about a picture, and ask on: the picture is sent once and read once.

    python -m examples.two_turns demo/pictures/landscape.jpg "What is the error code?" \
        "What color is the indicator?"

LLAVA_JOBS_URL names the API, LLAVA_JOBS_API_KEY the key.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from llava_jobs import Client


def conversation(client: Client, picture: Path, *questions: str) -> Iterator[str]:
    """Yield the answer to each question, all of them in one conversation about a picture."""
    job_id = ""
    for question in questions:
        asked = client.ask_on(job_id, question) if job_id else client.submit(picture, question)
        job = client.wait(asked["id"])
        if job["status"] != "succeeded":
            raise SystemExit(f"no answer: {job['error']}")
        job_id = job["id"]
        yield job["answer"]["text"]


def main() -> None:
    """Do it as the command line says."""
    picture, *questions = sys.argv[1:]
    url = os.environ.get("LLAVA_JOBS_URL", "http://127.0.0.1:8000")
    with Client(url, os.environ["LLAVA_JOBS_API_KEY"]) as client:
        for answer in conversation(client, Path(picture), *questions):
            print(answer, flush=True)


if __name__ == "__main__":
    main()
