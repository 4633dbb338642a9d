"""Answers requests by vLLM's AsyncLLM: an event loop in a thread, and vLLM's own process."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from worker.engine.answers import Answer
from worker.engine.counts import Counts, Memory
from worker.engine.errors import (
    EngineClosed,
    EngineError,
    EngineFailed,
    InvalidRequest,
    ModelError,
)
from worker.engine.model.description import Description, describe, named
from worker.engine.requests import FinishReason, Picture, Request
from worker.engine.text.detokenizing import TextStream
from worker.engine.text.prompts import Prompts
from worker.engine.validation import Intake
from worker.engine.vision.images import decoded
from worker.engine.warm_up import warm_up

log = logging.getLogger(__name__)

MOST_PICTURES = 16


class VllmEngine:
    """Answers visual questions by vLLM, many at once. Thread-safe."""

    def __init__(self, description: Description, arguments: dict[str, Any]) -> None:
        """Start vLLM with the arguments of its AsyncEngineArgs; raises ModelError if it refuses."""
        self.slots: int = arguments["max_num_seqs"]
        self.failed: EngineFailed | None = None
        self._eos = sorted(description.eos)
        # Decoding shares no state with the prompts' tokenizer, which other threads use meanwhile.
        self._tokenizer = deepcopy(description.processor.tokenizer)
        config = description.config
        self._intake = Intake(
            Prompts(description.processor, config.image_token_id, config.text_config.vocab_size),
            description.tiling,
            context=description.context,
            picture_tokens=description.context,
        )
        self._counts = Counts()
        self._open: dict[str, Answer] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._lock = threading.Lock()
        self._advanced = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        try:
            self._llm = asyncio.run_coroutine_threadsafe(_start(arguments), self._loop).result()
        except Exception as error:
            self._stop_loop()
            raise ModelError(
                f"vLLM cannot load {arguments['model']}; see its log ({named(error)})."
            ) from error

    @classmethod
    def load(
        cls, model: str | Path, *, revision: str | None = None, slots: int = 32, **more: Any
    ) -> VllmEngine:
        """Load a checkpoint by hub name or folder and warm it up with one small picture.

        `more` are arguments of vLLM's AsyncEngineArgs, such as dtype, tensor_parallel_size,
        pipeline_parallel_size and quantization. Raises ModelError for what cannot be served.
        """
        description = describe(model, revision)
        arguments = {
            "model": str(model),
            "revision": revision,
            "max_num_seqs": slots,
            "max_model_len": description.context,
            "limit_mm_per_prompt": {"image": MOST_PICTURES},
            "enable_prefix_caching": True,
            "generation_config": "vllm",
            **more,
        }
        engine = cls(description, arguments)
        warm_up(engine, model)
        return engine

    @property
    def running(self) -> int:
        """Requests of which vLLM has generated something, at most `slots`."""
        answers = list(self._open.values())
        return min(self.slots, sum(bool(answer.work.tokens) for answer in answers))

    @property
    def waiting(self) -> int:
        """The number of open requests that are not running."""
        return max(0, len(self._open) - self.running)

    @property
    def step_age(self) -> float:
        """Seconds since vLLM last sent tokens; 0 while there is nothing to do."""
        return time.monotonic() - self._advanced if self._open else 0.0

    @property
    def counts(self) -> Counts:
        """The tokens that it has read, found cached and generated."""
        return self._counts

    @property
    def memory(self) -> Memory | None:
        """None: the memory is taken by vLLM's processes, which do not report it."""
        return None

    def submit(self, request: Request, on_text: Callable[[str], object] | None = None) -> Answer:
        """Check a request and start to answer it; raises as the protocol says."""
        self._raise_if_ended()
        work = self._intake.accept(request)
        if len(work.request.pictures) > MOST_PICTURES:
            raise InvalidRequest(f"A request holds at most {MOST_PICTURES} pictures; send fewer.")
        answer = Answer(work, lambda: self._interrupt(answer), self._stream(request))
        if on_text is not None:
            answer.listen(on_text)
        images = [_image(picture) for picture in work.request.pictures]
        work.prepared = time.monotonic()
        with self._lock:
            self._raise_if_ended()
            if not self._open:
                self._advanced = time.monotonic()
            self._open[answer.id] = answer
            self._loop.call_soon_threadsafe(self._begin, answer, images)
        return answer

    def close(self) -> None:
        """End vLLM's process and the loop; open answers fail with EngineClosed."""
        self._end(EngineClosed("The engine was closed before the answer was complete."))
        if self._thread.is_alive():
            self._llm.shutdown()
            self._stop_loop()

    def _stream(self, request: Request) -> TextStream:
        return TextStream(self._tokenizer, request.stop)

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _raise_if_ended(self) -> None:
        if self.failed is not None:
            raise EngineClosed(self.failed.message)
        if self._llm.errored:
            raise EngineClosed("vLLM's process has ended; restart the worker.")

    def _interrupt(self, answer: Answer) -> None:
        """End an answer's task from another thread; the loop is gone once the engine is closed."""
        with self._lock:
            if answer.id in self._open:
                self._loop.call_soon_threadsafe(self._cancel, answer)

    def _cancel(self, answer: Answer) -> None:
        task = self._tasks.get(answer.id)
        if task is not None:
            task.cancel()

    def _begin(self, answer: Answer, images: list[Image.Image]) -> None:
        """Start an answer's task, within the loop."""
        task = self._loop.create_task(self._answer(answer, images))
        self._tasks[answer.id] = task
        task.add_done_callback(lambda _: self._ended(answer))

    def _ended(self, answer: Answer) -> None:
        """Forget a task; one that was canceled before its first step has not ended its answer."""
        self._tasks.pop(answer.id, None)
        self._finish(answer, "canceled", 0)

    async def _answer(self, answer: Answer, images: list[Image.Image]) -> None:
        """Bring one answer to its end, whatever that is."""
        from vllm.v1.engine.exceptions import EngineDeadError

        deadline = answer.work.request.deadline
        cached = 0
        try:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            async with asyncio.timeout(wait):
                if answer.canceled.is_set():
                    raise asyncio.CancelledError  # noqa: TRY301 - canceled before it began
                reason, cached = await self._generate(answer, images)
        except asyncio.CancelledError:
            reason = "canceled"
        except TimeoutError:
            reason = "deadline"
        except EngineDeadError as error:
            self._end(EngineFailed.by(error))
            return
        except EngineError as error:
            self._fail(answer, error)
            return
        except ValueError as error:
            self._fail(answer, InvalidRequest(f"vLLM refuses the request ({named(error)})."))
            return
        except Exception as error:
            log.exception("vLLM failed with one request")
            self._fail(answer, error)
            return
        self._finish(answer, reason, cached)

    async def _generate(
        self, answer: Answer, images: list[Image.Image]
    ) -> tuple[FinishReason, int]:
        """Follow vLLM's output; why it ended and how many prompt tokens were cached."""
        tokens, cached = answer.work.alone, 0
        answer.work.admitted = time.monotonic()
        outputs = self._llm.generate(
            self._prompt(answer, images), self._sampling(answer.work.request), answer.id
        )
        try:
            async for output in outputs:
                (piece,) = output.outputs
                now = self._advanced = time.monotonic()
                if not answer.work.started:
                    answer.work.started = now
                    cached = output.num_cached_tokens or 0
                    self._counts += Counts(prompt=answer.work.prompt_tokens, cached=cached)
                tokens.extend(piece.token_ids)
                self._counts += Counts(generated=len(piece.token_ids))
                if answer.is_read and not output.finished:
                    error = answer.say(answer.stream.advance(tokens))
                    if error is not None:
                        raise error
                    if answer.stream.stopped:
                        return "stop", cached
                if output.finished:
                    return ("stop" if piece.finish_reason == "stop" else "length"), cached
        finally:
            await outputs.aclose()
        raise RuntimeError("vLLM ended an answer without a reason.")

    def _prompt(self, answer: Answer, images: list[Image.Image]) -> dict[str, Any]:
        """The prompt as vLLM wants it, all of whose cache keys name the scope."""
        request, prompt = answer.work.request, answer.work.prompt
        built: dict[str, Any] = {
            "prompt_token_ids": list(prompt.ids),
            "cache_salt": f"scope {request.scope}",
        }
        if images:
            keys = [f"{request.scope} {p.digest} {p.box}" for p in request.pictures]
            built["multi_modal_data"] = {"image": images}
            built["multi_modal_uuids"] = {"image": keys}
        return built

    def _sampling(self, request: Request) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            max_tokens=request.max_new_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            seed=request.seed,
            stop_token_ids=[] if request.ignore_eos else self._eos,
            ignore_eos=request.ignore_eos,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )

    def _finish(self, answer: Answer, reason: FinishReason, cached: int) -> None:
        with self._lock:
            if self._open.pop(answer.id, None) is None:
                return
        answer.complete(replace(answer.summary(self._tokenizer, reason), cached_tokens=cached))

    def _fail(self, answer: Answer, error: Exception) -> None:
        with self._lock:
            if self._open.pop(answer.id, None) is None:
                return
        answer.future.set_exception(error)

    def _end(self, failed: EngineFailed) -> None:
        """Refuse everything from now on and fail what is open."""
        with self._lock:
            self.failed = self.failed or failed
            answers = list(self._open.values())
            self._open.clear()
        for answer in answers:
            answer.future.set_exception(type(failed)(failed.message))


async def _start(arguments: dict[str, Any]) -> Any:
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    from vllm import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))


def _image(picture: Picture) -> Image.Image:
    """What is to be seen of a picture; raises ImageUnreadable."""
    image = decoded(picture.data)
    return image if picture.box is None else image.crop(picture.box)
