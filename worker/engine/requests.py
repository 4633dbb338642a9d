"""What goes into the engine and what comes out: plain frozen records."""

import hashlib
import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from worker.engine.errors import InvalidRequest

Role = Literal["user", "assistant", "system"]
Detail = Literal["auto", "high"]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""
FinishReason = Literal["stop", "length", "canceled", "deadline"]

MAX_TEMPERATURE = 2.0


@dataclass(frozen=True, repr=False)
class Picture:
    """A canonical picture: PNG, WebP or JPEG bytes, RGB, oriented, of bounded size.

    `digest` is the SHA-256 of the bytes in hex and is computed when it is not given. `detail`
    "high" has a picture that is larger than the model's grids looked at in overlapping parts, too.
    `box` shows a part of it alone.
    """

    data: bytes
    digest: str = ""
    detail: Detail = "auto"
    box: Box | None = None

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", hashlib.sha256(self.data).hexdigest())

    def __repr__(self) -> str:
        return f"Picture({len(self.data)} bytes)"


@dataclass(frozen=True, repr=False)
class Turn:
    """One turn of a conversation: texts and pictures in the order in which they are meant.

    `role` is "user", "assistant" or "system".
    """

    role: str
    parts: tuple[str | Picture, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures among the parts."""
        return tuple(part for part in self.parts if isinstance(part, Picture))

    def __repr__(self) -> str:
        return f"Turn({self.role}, {len(self.parts)} parts)"


@dataclass(frozen=True)
class Request:
    """A conversation to be continued, and how.

    `temperature` 0 is greedy. `top_k` 0 and `top_p` 1 leave all tokens in. `seed` makes a sampled
    answer repeatable, whatever else runs in the batch. An answer ends before the first of the
    strings in `stop`. `deadline` is a `time.monotonic()` instant.
    `scope` (a tenant) is part of every cache key. `ignore_eos` serves measurements: the answer then
    has exactly `max_new_tokens` tokens.
    """

    conversation: tuple[Turn, ...]
    scope: str
    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    deadline: float | None = None
    ignore_eos: bool = False

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures of the conversation in reading order."""
        return tuple(picture for turn in self.conversation for picture in turn.pictures)

    def check(self) -> None:
        """Raise InvalidRequest, naming the parameter, if a parameter is out of range."""
        if not self.conversation:
            raise InvalidRequest("The conversation is empty; send at least one user turn.")
        roles = {turn.role for turn in self.conversation}
        if not roles <= set(get_args(Role)):
            raise InvalidRequest(f"A turn's role must be one of {', '.join(get_args(Role))}.")
        if self.conversation[-1].role != "user":
            raise InvalidRequest("The last turn of the conversation must be the user's.")
        if self.max_new_tokens < 1:
            raise InvalidRequest(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1.")
        if not (math.isfinite(self.temperature) and 0.0 <= self.temperature <= MAX_TEMPERATURE):
            raise InvalidRequest(
                f"temperature is {self.temperature}; it must be between 0 and {MAX_TEMPERATURE:g}."
            )
        if not (math.isfinite(self.top_p) and 0.0 < self.top_p <= 1.0):
            raise InvalidRequest(f"top_p is {self.top_p}; it must be above 0 and at most 1.")
        if self.top_k < 0:
            raise InvalidRequest(f"top_k is {self.top_k}; it must be 0 (off) or more.")
        if not all(self.stop):
            raise InvalidRequest("A stop string is empty; leave it out.")


@dataclass(frozen=True)
class Timing:
    """Where the time of one answer went, in milliseconds.

    `wait_ms` is the time between being prepared and entering the batch.
    """

    preprocess_ms: float = 0.0
    wait_ms: float = 0.0
    vision_ms: float = 0.0
    generate_ms: float = 0.0


@dataclass(frozen=True)
class Result:
    """An answer, complete or (when canceled or past its deadline) as far as it came.

    `token_ids` holds every generated token, the end-of-sequence token included; `cached_tokens`
    counts the prompt tokens whose keys and values were already in the cache; `tokens_after_cancel`
    counts the tokens generated after `cancel()` was called.
    """

    text: str = field(repr=False)
    token_ids: tuple[int, ...] = field(repr=False)
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    finish_reason: FinishReason
    timing: Timing
    tokens_after_cancel: int = 0
