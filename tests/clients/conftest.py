"""Clients that none of us wrote, pointed at installations as their users start them."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from PIL import Image

from llava_jobs.demo import PICTURES, Example, examples
from tests.installations import Installation, caller, run
from tests.unit.api.pictures import encoded, scene


@pytest.fixture
def openai(answering: Installation) -> Iterator[OpenAI]:
    """The official client, at an installation that answers right, without its own retries."""
    with OpenAI(base_url=f"{answering.url}/v1", api_key=answering.key, max_retries=0) as client:
        yield client


@pytest.fixture
def talkative(installation: Installation) -> Iterator[OpenAI]:
    """The official client, at an installation that talks on and on."""
    with OpenAI(base_url=f"{installation.url}/v1", api_key=installation.key, max_retries=0) as made:
        yield made


@pytest.fixture(scope="session")
def newcomer(installation: Installation) -> Iterator[httpx.Client]:
    """A caller of the installation that talks on and on, of a tenant of its own."""
    place = ("--data-dir", str(installation.data_dir))
    status, key = run("keys", "create", "--tenant", "newcomer", *place)
    assert status == 0, key
    with caller(installation.url, key.strip()) as client:
        yield client


@pytest.fixture(scope="session")
def noise() -> bytes:
    """A picture that is a long file."""
    return encoded(Image.effect_noise((640, 640), 90).convert("RGB"), "PNG")


@pytest.fixture(scope="session")
def png() -> Callable[[str], bytes]:
    """Makes bodies of jobs that ask something about a small picture, briefly."""
    data = base64.b64encode(encoded(scene(), "PNG")).decode()

    def body(question: str) -> bytes:
        return json.dumps(
            {
                "question": question,
                "images": [{"data": f"data:image/png;base64,{data}"}],
                "max_new_tokens": 1,
            }
        ).encode()

    return body


def conversation(example: Example) -> list[Any]:
    """A bundled question and its picture, as OpenAI's documentation writes them."""
    return [
        {
            "role": "user",
            "content": [
                shown(PICTURES / example.picture, example.detail),
                said(example.question),
            ],
        }
    ]


def shown(picture: Path, detail: str = "auto") -> dict[str, Any]:
    """A content part that shows a picture."""
    data = base64.b64encode(picture.read_bytes()).decode()
    url = f"data:image/jpeg;base64,{data}"
    return {"type": "image_url", "image_url": {"url": url, "detail": detail}}


def said(text: str) -> dict[str, str]:
    """A content part that says something."""
    return {"type": "text", "text": text}


EXAMPLES = examples()
