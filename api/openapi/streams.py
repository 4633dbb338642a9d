"""What streams tell: the data of their events."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.openapi.answers import JobId, Shown
from api.openapi.completion import CompletionUsage
from api.openapi.problem import OpenAIError
from jobs.job import Status


class Position(Shown):
    """A place in the queue."""

    position: Annotated[int, Field(ge=1)]


class StatusEvent(Shown):
    """Where a job stands: told at first, and when it changes."""

    id: JobId
    status: Status
    attempt: int
    """tries at the job so far"""
    queue: Position | None
    restart: bool
    """`true`: drop the text that you have, the answer begins anew"""


class TokenEvent(Shown):
    """The next piece of the answer."""

    text: str


class Delta(Shown):
    """What a chunk adds to the answer."""

    role: Literal["assistant"] = "assistant"
    content: str = ""


class ChunkChoice(Shown):
    """The one answer, as far as it has come."""

    index: Literal[0]
    delta: Delta
    finish_reason: Literal["stop", "length"] | None
    logprobs: None


class Chunk(Shown):
    """A piece of a completion."""

    id: JobId
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | None = None
    """in the last chunk, with `include_usage`"""


class StreamError(Shown):
    """Why a stream of chunks ends without the rest of the answer."""

    error: OpenAIError
