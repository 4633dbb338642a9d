"""An engine for a model that no single device holds: plain `generate`, one request after another.

accelerate puts the layers on the GPUs, then into main memory, and leaves the rest in the checkpoint
on disk, from where they are read at every step. Continuous batching works on one device only.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from worker.engine.answers import Answer, Work
from worker.engine.batch.sampling import Sampling, draw_alone
from worker.engine.counts import Counts, Memory
from worker.engine.errors import EngineClosed, EngineError, EngineFailed, OutOfMemory
from worker.engine.model import loading
from worker.engine.model.loading import Loaded
from worker.engine.requests import FinishReason, Request
from worker.engine.text.detokenizing import TextStream
from worker.engine.text.prompts import Prompts
from worker.engine.validation import Intake
from worker.engine.vision import images
from worker.engine.vision.tower import normalised
from worker.engine.warm_up import warm_up

log = logging.getLogger(__name__)

CLOSED = "The engine was closed before the answer was complete."


class SpreadEngine:
    """Answers visual questions one by one, with the interface of Engine. Thread-safe.

    `generate_ms` of an answer contains the time that the vision tower took.
    """

    slots = 1

    def __init__(self, loaded: Loaded) -> None:
        """Take over a loaded model, wherever its layers are."""
        self._model = loaded.model
        self._eos = loaded.eos
        self._tiling = loaded.tiling
        self._levels = torch.from_numpy(loaded.levels)
        self._image_token = loaded.model.config.image_token_id
        # A checkpoint's habits (sampling, penalties) are not what a request asks for.
        self._model.generation_config = GenerationConfig()
        # Decoding shares no state with the prompts' tokenizer, which other threads use meanwhile.
        self._tokenizer = deepcopy(loaded.processor.tokenizer)
        words = loaded.model.get_input_embeddings().num_embeddings
        self._intake = Intake(
            Prompts(loaded.processor, self._image_token, words),
            loaded.tiling,
            context=loaded.context,
            picture_tokens=loaded.context,
        )
        self.failed: EngineFailed | None = None
        self.counts = Counts()
        self._closing = False
        self._step_began: float | None = None
        self._wake = threading.Condition()
        self._current: Answer | None = None
        self._queue: deque[Answer] = deque()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        revision: str | None = None,
        dtype: str = "auto",
        device_map: str | Mapping[str, int | str] = "auto",
    ) -> "SpreadEngine":
        """Load a checkpoint by hub name or folder and warm it up with one small picture.

        `device_map` is "auto", "balanced", "sequential" or a place for each module, as accelerate
        takes it. Raises ModelError, with one line that names cause and cure.
        """
        loaded = loading.load_spread(model, revision=revision, dtype=dtype, device_map=device_map)
        engine = cls(loaded)
        warm_up(engine, model)
        return engine

    @property
    def running(self) -> int:
        """The number of requests being answered, at most one."""
        return int(self._current is not None)

    @property
    def waiting(self) -> int:
        """The number of accepted requests that have not begun."""
        return len(self._queue)

    @property
    def step_age(self) -> float:
        """Seconds since the last token, or since the request began; 0 while nothing is to do."""
        began = self._step_began
        return 0.0 if began is None else time.monotonic() - began

    @property
    def memory(self) -> Memory | None:
        """What it has of all GPUs; None where there is none."""
        return Memory.of(*range(torch.cuda.device_count()))

    def submit(self, request: Request, on_text: Callable[[str], None] | None = None) -> Answer:
        """Check and prepare a request, and queue it; as `Engine.submit`."""
        work = self._intake.accept(request)
        answer = Answer(work, self._nudge, TextStream(self._tokenizer, request.stop))
        if on_text is not None:
            answer.listen(on_text)
        try:
            work.tiles = images.tiles(work.request.pictures, self._tiling)
        except EngineError as error:
            answer.future.set_exception(error)
            return answer
        work.prepared = time.monotonic()
        with self._wake:
            if self.failed is not None:
                raise EngineClosed(self.failed.message)
            if self._closing:
                raise EngineClosed("The engine is closed; send the request to another worker.")
            self._queue.append(answer)
            self._wake.notify()
        return answer

    def close(self) -> None:
        """End the engine's thread after at most one token; open answers fail with EngineClosed."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._end(EngineClosed(CLOSED))

    def _nudge(self) -> None:
        with self._wake:
            self._wake.notify()

    def _run(self) -> None:
        try:
            while self._next():
                self._answer_current()
        except BaseException as error:
            log.critical("The engine failed", exc_info=True)
            self._end(EngineFailed.by(error))

    def _next(self) -> bool:
        """Wait for an answer to begin with; False when the engine is to end."""
        while True:
            self._settle_queue()
            with self._wake:
                if self._closing:
                    return False
                if self._queue:
                    self._current = self._queue.popleft()
                    return True
                self._step_began = None
                self._wake.wait()

    def _settle_queue(self) -> None:
        """End what was canceled or is overdue before it has begun."""
        now = time.monotonic()
        with self._wake:
            ended = [a for a in self._queue if a.canceled.is_set() or a.overdue(now)]
            for answer in ended:
                self._queue.remove(answer)
        for answer in ended:
            self._finish(answer, "canceled" if answer.canceled.is_set() else "deadline")

    def _answer_current(self) -> None:
        answer = self._current
        assert answer is not None  # noqa: S101 - by _next
        work = answer.work
        work.admitted = work.started = self._step_began = time.monotonic()
        self.counts += Counts(prompt=work.prompt_tokens)
        listener = _Listener(answer, self._after_token)
        try:
            self._generate(work, listener)
            outcome = listener.outcome or "length"
        except torch.OutOfMemoryError:
            outcome = OutOfMemory(
                "The devices ran out of memory on this request; try again, send fewer pictures, or "
                "lower max_new_tokens."
            )
        self._current = None
        self._finish(answer, outcome)

    def _generate(self, work: Work, listener: "_Listener") -> None:
        request = work.request
        draw = Sampling.of(request.temperature, request.top_p, request.top_k, request.seed)
        self._model.generate(
            **self._inputs(work),
            generation_config=GenerationConfig(
                max_new_tokens=request.max_new_tokens, do_sample=False, pad_token_id=0
            ),
            logits_processor=[_Draw(draw)] if draw.temperature > 0 else [],
            stopping_criteria=[listener],
        )

    def _inputs(self, work: Work) -> dict[str, torch.Tensor]:
        """What `generate` is given: ids [1, tokens] and the tiles of all pictures in a row."""
        device = _entrance(self._model)
        ids = work.prompt.expand([[self._image_token] * length for length in work.lengths])
        inputs = {"input_ids": torch.tensor([ids], device=device)}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if work.tiles:
            pixels = torch.cat([normalised(tiles, self._levels) for tiles in work.tiles])
            inputs["pixel_values"] = pixels.to(device, self._model.dtype)
            inputs["image_sizes"] = torch.tensor(work.sizes, device=device)
        work.tiles = None
        return inputs

    def _after_token(self, answer: Answer) -> FinishReason | Exception | None:
        """Give out what a new token brought; returns how the answer ends, if it does."""
        self._step_began = time.monotonic()
        self.counts += Counts(generated=1)
        self._settle_queue()
        request, tokens = answer.work.request, answer.work.tokens
        if self._closing:
            return EngineClosed(CLOSED)
        if answer.canceled.is_set():
            return "canceled"
        if tokens[-1] in self._eos and not request.ignore_eos:
            return "stop"
        if answer.overdue(self._step_began):
            return "deadline"
        if not answer.is_read:
            return None
        error = answer.say(answer.stream.advance(tokens))
        return error or ("stop" if answer.stream.stopped else None)

    def _finish(self, answer: Answer, outcome: FinishReason | Exception) -> None:
        if isinstance(outcome, Exception):
            answer.future.set_exception(outcome)
            return
        answer.complete(answer.summary(self._tokenizer, outcome))

    def _end(self, failed: EngineFailed) -> None:
        """Refuse everything from now on and fail what is open."""
        with self._wake:
            self.failed = self.failed or failed
            answers = [*([self._current] if self._current else []), *self._queue]
            self._current = None
            self._queue.clear()
        self._step_began = None
        for answer in answers:
            answer.future.set_exception(type(failed)(failed.message))


class _Listener(StoppingCriteria):
    """Hears of every token that `generate` makes; `after_token` says whether to go on."""

    def __init__(
        self, answer: Answer, after_token: Callable[[Answer], FinishReason | Exception | None]
    ) -> None:
        self._answer = answer
        self._after_token = after_token
        self.outcome: FinishReason | Exception | None = None

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Whether to stop, bool [1]: ids [1, prompt and answer]."""
        work = self._answer.work
        work.alone = input_ids[0, work.prompt_tokens :].tolist()
        self.outcome = self._after_token(self._answer)
        return torch.tensor([self.outcome is not None], device=input_ids.device)


class _Draw(LogitsProcessor):
    """Makes the highest score a draw, the same that Engine makes for a seed."""

    def __init__(self, draw: Sampling) -> None:
        self._draw = draw

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """scores float32 [1, vocabulary]."""
        return draw_alone(scores, self._draw, input_ids.shape[1])


def _entrance(model: Any) -> torch.device:
    """The device on which a model, dispatched or not, looks its words up."""
    embedding = model.get_input_embeddings()
    hook = getattr(embedding, "_hf_hook", None)
    place = getattr(hook, "execution_device", None)
    return torch.device(place) if place is not None else embedding.weight.device
