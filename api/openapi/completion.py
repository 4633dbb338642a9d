"""A chat completion as it is answered, in OpenAI's shape."""

from __future__ import annotations

from typing import Literal

from api.openapi.answers import Count, JobId, Shown


class AssistantMessage(Shown):
    """What the model said."""

    role: Literal["assistant"]
    content: str


class Choice(Shown):
    """The one answer."""

    index: Literal[0]
    message: AssistantMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None


class PromptTokensDetails(Shown):
    """Of the prompt's tokens, those that were known from before."""

    cached_tokens: Count


class CompletionUsage(Shown):
    """Tokens that a completion took."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    prompt_tokens_details: PromptTokensDetails


class Completion(Shown):
    """An answer as OpenAI's clients read it."""

    id: JobId
    """the id of the job that answered"""
    object: Literal["chat.completion"]
    created: int
    """seconds since the epoch"""
    model: str
    choices: list[Choice]
    usage: CompletionUsage
