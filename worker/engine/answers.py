"""One answer in the making: what the caller holds and what the engine's loop works on."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from worker.engine.batch.running import Running
from worker.engine.batch.sampling import Sampling
from worker.engine.requests import FinishReason, Request, Result, Timing
from worker.engine.text.detokenizing import TextStream, cut, decode
from worker.engine.text.prompts import Prompt
from worker.engine.vision.image_pool import Extent, Key
from worker.engine.vision.images import Tiles


@dataclass(eq=False)
class Work:
    """What it takes to bring one request through.

    `keys` name the scope's first word and then each picture; `lengths` are image tokens and `sizes`
    (height, width) in pixels per picture; `tiles` are None while they are not needed; the instants
    (`time.monotonic()`) say when each stage began. What is generated is in `running` within a batch
    and in `alone` without one.
    """

    request: Request
    prompt: Prompt
    keys: list[Key]
    lengths: list[int]
    sizes: list[tuple[int, int]]
    tiles: list[Tiles] | None = None
    extents: list[Extent] = field(default_factory=list)
    running: Running | None = None
    draw: Sampling | None = None
    alone: list[int] = field(default_factory=list)
    submitted: float = 0.0
    prepared: float = 0.0
    admitted: float = 0.0
    started: float = 0.0

    @property
    def prompt_tokens(self) -> int:
        """The prompt's length with its image tokens."""
        return self.prompt.length(self.lengths)

    @property
    def total(self) -> int:
        """The most tokens that prompt and answer can take together."""
        return self.prompt_tokens + self.request.max_new_tokens

    @property
    def tokens(self) -> list[int]:
        """What has been generated so far."""
        return self.running.tokens if self.running else self.alone

    def timing(self) -> Timing:
        """Where the time went, for stages that were reached."""
        now = time.monotonic()
        prepared, admitted, started = self.prepared, self.admitted, self.started
        return Timing(
            preprocess_ms=1000 * ((prepared or now) - self.submitted),
            wait_ms=1000 * ((admitted or now) - prepared) if prepared else 0.0,
            vision_ms=1000 * (started - admitted) if started else 0.0,
            generate_ms=1000 * (now - started) if started else 0.0,
        )


class Answer:
    """A handle on a submitted request.

    `future` ends with a Result, or with an EngineError. Callbacks added to it run in the engine's
    own thread and must return at once. `cancel` and `listen` may be called at any time, from any
    thread; once canceled, the future ends with what was generated so far and finish_reason
    "canceled".
    """

    def __init__(self, work: Work, wake: Callable[[], None], stream: TextStream) -> None:
        self.id = uuid4().hex
        self.future: Future[Result] = Future()
        # Only `cancel` cancels: Future.cancel would leave the batch generating for nobody.
        self.future.set_running_or_notify_cancel()
        self.work = work
        self.stream = stream
        self._said: list[str] = []
        self._on_text: Callable[[str], object] | None = None
        self._saying = threading.Lock()
        self.canceled = threading.Event()
        self._tokens_at_cancel = 0
        self._wake = wake

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the answer, at most `timeout` seconds; raises as the future does."""
        return self.future.result(timeout)

    def cancel(self) -> None:
        """Stop generating within one step; does nothing once the answer is complete."""
        if self.canceled.is_set():
            return
        self._tokens_at_cancel = len(self.work.tokens)
        self.canceled.set()
        self._wake()

    def listen(self, on_text: Callable[[str], object]) -> None:
        """Have `on_text` called with each piece of text as it becomes certain, by one caller.

        It is given what has been said already at once, and the rest from the engine's thread. It
        must return at once, and if it raises there, the answer fails with its error.
        """
        with self._saying:
            if self._said:
                on_text("".join(self._said))
            self._on_text = on_text

    @property
    def is_read(self) -> bool:
        """Whether its text is wanted while it grows: decoding every token costs every step time."""
        return self._on_text is not None or bool(self.work.request.stop)

    def overdue(self, now: float) -> bool:
        """Whether the request's deadline has passed."""
        deadline = self.work.request.deadline
        return deadline is not None and now >= deadline

    def say(self, piece: str) -> Exception | None:
        """Give a piece of text to who listens; returns what the listener's function raised."""
        if not piece:
            return None
        with self._saying:
            self._said.append(piece)
            try:
                if self._on_text is not None:
                    self._on_text(piece)
            except Exception as error:  # noqa: BLE001 - a caller's mistake must not end the engine
                return error
        return None

    def summary(self, tokenizer: Any, reason: FinishReason) -> Result:
        """What there is to say about the answer as it stands, ended for a reason."""
        work = self.work
        whole = decode(tokenizer, work.tokens)
        text = cut(whole, work.request.stop)
        if reason == "length" and len(text) < len(whole):
            reason = "stop"
        tokens = tuple(work.tokens)
        # Fewer than then, where memory ran short and the answer had to begin anew.
        late = max(0, len(tokens) - self._tokens_at_cancel) if self.canceled.is_set() else 0
        return Result(
            text=text,
            token_ids=tokens,
            prompt_tokens=work.prompt_tokens,
            cached_tokens=work.running.cached_tokens if work.running else 0,
            completion_tokens=len(tokens),
            finish_reason=reason,
            timing=work.timing(),
            tokens_after_cancel=late,
        )

    def complete(self, result: Result) -> None:
        """Give out the rest of the text and resolve the future."""
        error = self.say(self.stream.finish(result.text))
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)
