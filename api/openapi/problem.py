"""An error as it is answered: RFC 9457 and OpenAI's shape at once."""

from __future__ import annotations

from pydantic import Field

from api.openapi.answers import Shown


class OpenAIError(Shown):
    """The error as OpenAI's clients read it."""

    message: str
    """the cause and the cure, for people"""
    type: str
    param: str | None
    """the field at fault"""
    code: str
    """stable"""


class Problem(Shown):
    """What went wrong (RFC 9457)."""

    type: str
    """a URI of the code"""
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    """the cause and the cure, for people"""
    instance: str
    """the path that was called"""
    error: OpenAIError
