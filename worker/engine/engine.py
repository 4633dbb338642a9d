"""The engine: requests in, answers out, one thread that keeps the batch running."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from copy import deepcopy
from pathlib import Path

import torch

from worker.engine.answers import Answer
from worker.engine.attention.choice import kernels_for
from worker.engine.attention.native import openmp
from worker.engine.batch.admission import Admission
from worker.engine.batch.batch import Batch
from worker.engine.batch.graphs import GraphRunner
from worker.engine.batch.runner import Runner
from worker.engine.counts import Counts, Memory
from worker.engine.errors import EngineClosed, EngineFailed
from worker.engine.limits import Limits
from worker.engine.model import loading
from worker.engine.model.embedding import PictureEmbedding
from worker.engine.model.loading import Loaded
from worker.engine.model.projections import pack
from worker.engine.model.quantization import Quantize
from worker.engine.requests import FinishReason, Request
from worker.engine.text.detokenizing import TextStream
from worker.engine.text.prompts import Prompts
from worker.engine.validation import Intake
from worker.engine.vision.image_pool import ImagePool
from worker.engine.vision.images import Tiles
from worker.engine.vision.preprocessing import Preprocessor
from worker.engine.vision.tower import Vision
from worker.engine.warm_up import warm_up

log = logging.getLogger(__name__)


class Engine:
    """Answers visual questions, many at once. Thread-safe."""

    def __init__(self, loaded: Loaded, limits: Limits, *, slow_attention: bool = False) -> None:
        """Take over a loaded model: its embedding and attention are replaced by the engine's.

        Raises ModelError when the caches do not fit into memory, or the kernels of a GPU cannot be
        used and `slow_attention` does not allow others.
        """
        model = loaded.model
        self._eos = loaded.eos
        resolved = limits.resolved(model, loaded.context, loaded.tiling.max_tokens)
        embedding = PictureEmbedding(model.get_input_embeddings(), resolved.picture_tokens)
        if model.device.type == "cpu":
            pack(model.model.vision_tower)
            pack(model.model.multi_modal_projector)
        # Decoding shares no state with the prompts' tokenizer, which other threads use meanwhile.
        self._tokenizer = deepcopy(loaded.processor.tokenizer)
        self._device = model.device
        kernels = kernels_for(model, resolved.page_tokens, slow_attention=slow_attention)
        runner = (GraphRunner if kernels.capturable else Runner).of(
            model, embedding, kernels, resolved
        )
        with torch.inference_mode():
            runner.warm_up()
        openmp.release()  # of the loading thread: steps run in the engine's own
        self._batch = Batch(runner, resolved)
        words = embedding.vocabulary
        self._intake = Intake(
            Prompts(loaded.processor, model.config.image_token_id, words),
            loaded.tiling,
            context=min(loaded.context, self._batch.capacity_tokens),
            picture_tokens=resolved.picture_tokens,
        )
        pool = ImagePool(resolved.picture_tokens, words)
        vision = Vision(model, loaded.levels)
        self._admission = Admission(self._batch, pool, embedding, vision, resolved.tiles_per_pass)
        self._preprocessor = Preprocessor(loaded.tiling, limits.processes)
        self.slots = limits.slots
        self.failed: EngineFailed | None = None
        self._closing = False
        self._turn_began: float | None = None
        self._wake = threading.Condition()
        self._open: dict[str, Answer] = {}
        self._arrived: deque[Answer] = deque()
        self._nudged = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        quantize: Quantize = "none",
        limits: Limits | None = None,
        slow_attention: bool = False,
    ) -> "Engine":
        """Load a checkpoint by hub name or folder and warm it up with one small picture.

        `device` and `dtype` "auto" take the GPU and bfloat16 where there is a GPU; `quantize`
        holds the language model's weights in fewer bits; `slow_attention` allows plain kernels on a
        GPU. Raises ModelError, with one line that names cause and cure, for what cannot be served.
        """
        loaded = loading.load(
            model, revision=revision, device=device, dtype=dtype, quantize=quantize
        )
        engine = cls(loaded, limits or Limits(), slow_attention=slow_attention)
        warm_up(engine, model)
        return engine

    @property
    def running(self) -> int:
        """The number of requests in the batch, at most `slots`."""
        return len(self._batch)

    @property
    def waiting(self) -> int:
        """The number of accepted requests that are not in the batch yet."""
        return max(0, len(self._open) - len(self._batch))

    @property
    def step_age(self) -> float:
        """Seconds that the current step has taken; 0 while there is nothing to do."""
        began = self._turn_began
        return 0.0 if began is None else time.monotonic() - began

    @property
    def counts(self) -> Counts:
        """The tokens that it has read and generated."""
        return self._batch.counts

    @property
    def memory(self) -> Memory | None:
        """What it has of its GPU; None on a CPU."""
        return Memory.of(self._device)

    def submit(self, request: Request, on_text: Callable[[str], None] | None = None) -> Answer:
        """Check and prepare a request, and queue it for the batch.

        `on_text` listens from the first token on (see `Answer.listen`). Raises InvalidRequest or a
        subclass for requests that can never be answered and EngineClosed when the engine has ended;
        whatever is found out later is in the answer's future.
        """
        work = self._intake.accept(request)
        answer = Answer(work, self._nudge, TextStream(self._tokenizer, request.stop))
        if on_text is not None:
            answer.listen(on_text)
        with self._wake:
            self._raise_if_ended()
            self._open[answer.id] = answer
        if self._admission.pin(work):
            self._arrive(answer, None)
        else:
            cut = self._preprocessor.cut(work.request.pictures)
            cut.add_done_callback(lambda done: self._arrive(answer, done))
        return answer

    def close(self) -> None:
        """End the engine's thread and processes; open answers fail with EngineClosed."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._preprocessor.close()
        self._end(EngineClosed("The engine was closed before the answer was complete."))

    def _raise_if_ended(self) -> None:
        if self.failed is not None:
            raise EngineClosed(self.failed.message)
        if self._closing:
            raise EngineClosed("The engine is closed; send the request to another worker.")

    def _nudge(self) -> None:
        with self._wake:
            self._nudged = True
            self._wake.notify()

    def _arrive(self, answer: Answer, cut: Future[list[Tiles]] | None) -> None:
        """Queue a prepared answer, or end it with what preparing it met."""
        error = cut.exception() if cut else None
        if error is not None:
            with self._wake:
                mine = self._open.pop(answer.id, None)
            if mine:
                answer.future.set_exception(error)
            return
        answer.work.tiles = cut.result() if cut else None
        answer.work.prepared = time.monotonic()
        with self._wake:
            self._arrived.append(answer)
            self._wake.notify()

    def _run(self) -> None:
        try:
            if self._device.type == "cuda":
                torch.cuda.set_device(self._device)  # of this thread
            while self._wait():
                self._turn()
        except BaseException as error:
            log.critical("The engine failed", exc_info=True)
            self._end(EngineFailed.by(error))

    def _wait(self) -> bool:
        """Sleep until there is something to do; False when the engine is to end."""
        with self._wake:
            while not (self._closing or self._nudged or self._arrived or self._busy()):
                self._turn_began = None
                self._wake.wait(self._until_next_deadline())
                if any(answer.overdue(time.monotonic()) for answer in self._open.values()):
                    break
            self._nudged = False
            self._turn_began = time.monotonic()
            while self._arrived:
                answer = self._arrived.popleft()
                if answer.id in self._open:
                    self._admission.put(answer)
                else:
                    self._admission.drop(answer)
            return not self._closing

    def _busy(self) -> bool:
        return len(self._batch) > 0 or len(self._admission) > 0

    def _until_next_deadline(self) -> float | None:
        deadlines = [answer.work.request.deadline for answer in self._open.values()]
        first = min((instant for instant in deadlines if instant is not None), default=None)
        return None if first is None else max(0.0, first - time.monotonic())

    def _turn(self) -> None:
        """Settle what is to end early, admit, advance everyone by one step, give out tokens."""
        now = time.monotonic()
        with self._wake:
            current = list(self._open.values())
        for answer in current:
            if answer.canceled.is_set():
                self._finish(answer, "canceled")
            elif answer.overdue(now):
                self._finish(answer, "deadline")
        for answer, error in self._admission.admit(self._eos).items():
            self._finish(answer, error)
        if len(self._batch) and self._step():
            for answer in current:
                self._give_out(answer)

    def _step(self) -> bool:
        """Advance the batch; False where the device had no memory for it, and less is tried next.

        A request that does not fit alone fails; nothing else does.
        """
        try:
            self._batch.step()
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            for answer, error in self._admission.retreat().items():
                self._finish(answer, error)
            return False
        if not self._admission.retreated:
            self._batch.grow()
        return True

    def _give_out(self, answer: Answer) -> None:
        """Pass on what the last step brought for one answer."""
        running = answer.work.running
        if running is None or answer.future.done():
            return
        if running.finished:
            self._finish(answer, "stop" if running.stopped else "length")
        elif answer.is_read:
            error = answer.say(answer.stream.advance(running.tokens))
            if error is not None:
                self._finish(answer, error)
            elif answer.stream.stopped:
                self._finish(answer, "stop")

    def _finish(self, answer: Answer, outcome: FinishReason | Exception) -> None:
        """End one answer: give back what it holds, and only then resolve its future."""
        with self._wake:
            if self._open.pop(answer.id, None) is None:
                return
        if isinstance(outcome, Exception):
            self._admission.drop(answer)
            answer.future.set_exception(outcome)
            return
        result = answer.summary(self._tokenizer, outcome)
        self._admission.drop(answer)
        answer.complete(result)

    def _end(self, failed: EngineFailed) -> None:
        """Refuse everything from now on and fail what is open."""
        with self._wake:
            self.failed = self.failed or failed
            answers = list(self._open.values())
            self._open.clear()
        self._turn_began = None
        for answer in answers:
            answer.future.set_exception(type(failed)(failed.message))
