"""The body of a chat completion, and the job that it asks for."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field
from pydantic import model_validator as validate
from pydantic_core import PydanticCustomError

from api.jobs.request import CreateJob, Fields, Message, Name, validated
from jobs.errors import InvalidRequest


class StreamOptions(Fields):
    """What a stream tells beside the answer."""

    include_usage: bool | None = None


class ChatCompletion(Fields):
    """The body of ``POST /v1/chat/completions``, as far as it has a meaning here.

    What a job's own fields are held to is left to ``CreateJob``, so that both routes refuse alike.
    """

    model: Name
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: Any = None
    seed: int | None = None
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None

    @validate(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise PydanticCustomError(
                "conflicting_fields", "send either max_tokens or max_completion_tokens"
            )
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError("conflicting_fields", "stream_options needs stream: true")
        return self

    @property
    def includes_usage(self) -> bool:
        """Whether the last chunk of a stream is to have the counts of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def to_job(self) -> CreateJob:
        """Return the job that is asked for; raises InvalidRequest, as it is told here."""
        fields = {
            "model": self.model,
            "messages": self.messages,
            "max_new_tokens": self.max_tokens
            if self.max_completion_tokens is None
            else self.max_completion_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": self.stop,
            "seed": self.seed,
            "metadata": {**({"user": self.user} if self.user else {}), **(self.metadata or {})},
        }
        given = {name: value for name, value in fields.items() if value is not None}
        return validated(CreateJob, given, strict=True)

    def as_told_here(self, error: InvalidRequest) -> InvalidRequest:
        """Return what was said of a job's field as said of the field that it came from."""
        ours = "max_tokens" if self.max_tokens is not None else "max_completion_tokens"
        shown = {"max_new_tokens": ours, **dict.fromkeys(("images", "image", None), "messages")}
        param = shown.get(error.param, error.param)
        message = error.message.replace("max_new_tokens", ours)
        told = InvalidRequest(message, code=error.code, param=param, retry_after=error.retry_after)
        told.status, told.title = error.status, error.title
        return told
