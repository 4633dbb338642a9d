"""The first answer of an engine, so that the first user does not wait for lazy set-up."""

import io
from pathlib import Path
from typing import Protocol

from PIL import Image

from worker.engine.answers import Answer
from worker.engine.errors import EngineError, ModelError
from worker.engine.requests import Picture, Request, Turn


class Answering(Protocol):
    """What can be warmed up."""

    def submit(self, request: Request) -> Answer:
        """Start to answer."""

    def close(self) -> None:
        """End."""


def warm_up(engine: Answering, model: str | Path) -> None:
    """Answer one small picture; closes the engine and raises ModelError if that fails."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "grey").save(file, "PNG")
    turn = Turn("user", (Picture(file.getvalue()), "?"))
    try:
        engine.submit(Request((turn,), scope="warm-up", max_new_tokens=2)).result()
    except EngineError as error:
        engine.close()
        raise ModelError(f"{model} loads but gives no answer: {error.message}") from error
