"""A small LLaVA-NeXT with random weights, engines on it, and the `generate` they are held to."""

import io
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from demo.model import new_model, new_processor
from tests.eventually import PATIENCE_S, eventually
from worker.engine import Answer, Engine, Limits, Picture, Request, Turn
from worker.engine.model import loading
from worker.engine.model.loading import Loaded

torch.set_num_threads(1)

NewEngine = Callable[..., Engine]
Paint = Callable[..., Picture]


def paint(width: int, height: int, seed: int = 0) -> Picture:
    """A picture of soft random colours."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return encoded(Image.fromarray(coarse).resize((width, height)))


def passing(patch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A listener at whose first word the deadlines of all answers have passed."""
    overdue = Answer.overdue
    return lambda _: patch.setattr(Answer, "overdue", lambda mine, _: overdue(mine, math.inf))


class FirstWord:
    """A listener that holds the engine at the first word of an answer until the test releases it.

    So the answer runs for as long as the test wants, however fast the machine is.
    """

    def __init__(self) -> None:
        self._spoken = threading.Event()
        self._released = threading.Event()

    def __call__(self, _: str) -> None:
        """Keep the engine's thread."""
        self._spoken.set()
        assert self._released.wait(PATIENCE_S), "no test released the engine"

    def wait(self) -> None:
        """Wait until the answer has been brought to its first word."""
        assert self._spoken.wait(PATIENCE_S), "the answer has no first word"

    def release(self) -> None:
        """Let the engine go on."""
        self._released.set()


def until_closed(engine: Any) -> Callable[[str], None]:
    """A listener that holds the engine at a word until somebody closes it."""

    def hold(_: str) -> None:
        eventually(lambda: engine._closing, "the engine is closed")

    return hold


def encoded(image: Image.Image) -> Picture:
    """An image as the engine takes it."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return Picture(file.getvalue())


def ask(*parts: str | Picture, scope: str = "tenant", **options: Any) -> Request:
    """A one-turn request whose answer has exactly `max_new_tokens` tokens unless told otherwise."""
    options = {"max_new_tokens": 8, "ignore_eos": True, **options}
    return Request((Turn("user", parts),), scope=scope, **options)


@dataclass
class Checkpoint:
    """A model and its processor, and what plain transformers makes of them."""

    model: Any
    processor: Any
    known: dict[Request, list[int]] = field(default_factory=dict)

    def loaded(self) -> Loaded:
        """A copy for an engine to take over."""
        pixels = self.processor.image_processor
        return loading.assemble(
            deepcopy(self.model), deepcopy(self.processor), pixels, name="small", device="cpu"
        )

    def inputs(self, conversation: Sequence[Turn]) -> Any:
        """The processor's own inputs for a conversation."""
        messages = [{"role": t.role, "content": list(map(_content, t.parts))} for t in conversation]
        text = self.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        pictures = [p for turn in conversation for p in turn.parts if isinstance(p, Picture)]
        opened = [Image.open(io.BytesIO(picture.data)) for picture in pictures] or None
        return self.processor(text=text, images=opened, return_tensors="pt")

    def generate(self, request: Request) -> list[int]:
        """The tokens of plain `generate(pixel_values=...)` for a greedy request."""
        if request in self.known:
            return self.known[request]
        inputs = self.inputs(request.conversation)
        config = deepcopy(self.model.generation_config)
        config.eos_token_id = None if request.ignore_eos else config.eos_token_id
        output = self.model.generate(
            **inputs, generation_config=config, max_new_tokens=request.max_new_tokens
        )
        self.known[request] = output[0, inputs["input_ids"].shape[1] :].tolist()
        return self.known[request]


def _content(part: str | Picture) -> dict[str, str]:
    return {"type": "image"} if isinstance(part, Picture) else {"type": "text", "text": part}


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(new_model().eval(), new_processor())


@pytest.fixture(scope="session")
def engine(checkpoint: Checkpoint) -> Iterator[Engine]:
    """One engine for all tests that leave it as it was."""
    engine = Engine(checkpoint.loaded(), Limits(slots=32))
    yield engine
    engine.close()


@pytest.fixture
def new_engine(checkpoint: Checkpoint) -> Iterator[NewEngine]:
    """Engines of a test's own, closed after it."""
    engines: list[Engine] = []

    def build(loaded: Loaded | None = None, **limits: Any) -> Engine:
        engines.append(Engine(loaded or checkpoint.loaded(), Limits(**limits)))
        return engines[-1]

    yield build
    for engine in engines:
        engine.close()
