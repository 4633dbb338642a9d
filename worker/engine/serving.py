"""What an engine must offer: a worker knows its engine by these protocols and by nothing else.

An engine is thread-safe and answers as many requests at once as it has slots. It is loaded and has
answered a picture before anybody is given it; loading raises ModelError, with one line that names
cause and cure, for what cannot be served as it is set. What it promises beside the signatures:

- A request that can never be answered is refused by `submit`. All else that goes wrong with one
  request is in its own future, as an EngineError; other requests go on.
- An error after which the engine cannot go on ends it: each open future gets EngineFailed, which
  says that the request may be what broke it, and `submit` raises EngineClosed from then on. The
  worker hands its jobs back and ends. That is so, too, where a process that the engine runs dies,
  and no such process outlives the worker's.
- Greedy answers depend on the request alone; a seed repeats an answer on the same engine. Nothing
  that one scope (a tenant) has asked is found in a cache by another.
- The device's memory is taken when the engine is loaded. Where it runs out later, the request that
  needs it fails with OutOfMemory, which may be tried again, or the engine ends as above.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from worker.engine.requests import Request, Result

if TYPE_CHECKING:
    from worker.engine.counts import Counts, Memory


class Handle(Protocol):
    """A request that an engine answers.

    `future` ends with a Result whose text ends before the first of the request's stop strings; at
    the request's deadline with what was generated until then and finish_reason "deadline"; or with
    an EngineError.
    """

    future: Future[Result]

    def cancel(self) -> object:
        """Stop at the next step; does nothing once the answer is complete.

        The future then ends with finish_reason "canceled", what was generated, and how many tokens
        of it came after this call (`tokens_after_cancel`).
        """

    def listen(self, on_text: Callable[[str], object]) -> object:
        """Have `on_text` called with what has been said, and with each piece to come.

        The pieces join to the answer's text and are never taken back. It is called from the
        engine's thread and must return at once.
        """


class Answering(Protocol):
    """What takes requests."""

    def submit(self, request: Request) -> Handle:
        """Check a request and start to answer it.

        Raises InvalidRequest or a subclass for one that can never be answered, and EngineClosed
        where the engine has ended.
        """


class Stepping(Protocol):
    """What tells whether it still works."""

    slots: int

    @property
    def step_age(self) -> float:
        """Seconds since it last came a step further; 0 while there is nothing to do."""


class Counting(Stepping, Protocol):
    """What tells how much it does."""

    @property
    def running(self) -> int:
        """Requests in the batch, at most `slots`."""

    @property
    def waiting(self) -> int:
        """Accepted requests that are not in the batch yet."""

    @property
    def counts(self) -> Counts:
        """Tokens that it has read, found cached and generated since it was loaded."""

    @property
    def memory(self) -> Memory | None:
        """Bytes that it has of its GPUs; None where it has none."""


class Serving(Answering, Counting, Protocol):
    """An engine, whole."""

    def close(self) -> object:
        """End it with all that it runs; open answers fail with EngineClosed."""
