"""A worker whose model is quantised or spread over devices answers over HTTP as any other."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llava_jobs.client import Client
from llava_jobs.demo import PICTURES
from tests.installations import Installation
from tests.integration.conftest import TRUTHS


@pytest.mark.parametrize(
    "settings", [{"quantize": "int8"}, {"quantize": "nf4"}, {"device_map": "auto"}], ids=str
)
def test_the_bundled_questions_are_answered(settings: dict[str, str], data_dir: Path) -> None:
    running = Installation(data_dir, **settings)
    try:
        running.ready()
        with Client(running.url, running.key) as client, ThreadPoolExecutor(4) as callers:

            def ask(example: dict[str, str]) -> str:
                return client.ask(PICTURES / example["picture"], example["question"])

            said = list(callers.map(ask, TRUTHS))
        right = [a == example["answer"] for a, example in zip(said, TRUTHS, strict=True)]
        assert sum(right) >= len(TRUTHS) - 1
        running.send(signal.SIGINT)
        assert running.status() == 0, running.text
    finally:
        running.end()
