"""The first answer of an engine, so that the first user does not wait for lazy set-up."""

import io
from pathlib import Path

from PIL import Image

from worker.engine.errors import EngineError, ModelError
from worker.engine.requests import Picture, Request, Turn
from worker.engine.serving import Serving


def warm_up(engine: Serving, model: str | Path) -> None:
    """Answer one small picture; closes the engine and raises ModelError if that fails."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "grey").save(file, "PNG")
    turn = Turn("user", (Picture(file.getvalue()), "?"))
    try:
        engine.submit(Request((turn,), scope="warm-up", max_new_tokens=2)).future.result()
    except EngineError as error:
        engine.close()
        raise ModelError(f"{model} loads but gives no answer: {error.message}") from error
