"""Requests to create jobs: their fields, what each may be, and what is told where it is not."""

from __future__ import annotations

import base64
import binascii
import json
import re
from io import BytesIO
from typing import Annotated, Any, Literal, Self, TypeVar

from flask import Request
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError, from_json

from api.http import body_budget
from api.http.field_errors import invalid
from api.http.multipart import taken
from jobs.durations import milliseconds
from jobs.errors import InvalidRequest, MalformedRequest, UnsupportedMediaType
from jobs.reach import MAX_URL_CHARS

MAX_METADATA_BYTES = 16_384
_PIECE_CHARS = 1 << 20
_WEB_URL = re.compile(r"https?:", re.IGNORECASE)
_DATA_URI = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)

Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]
StopText = Annotated[str, StringConstraints(min_length=1, max_length=64)]
ImageId = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Group = Annotated[Name, StringConstraints(pattern=r"(?s)^(?:\.?[^.]|\.\..)")]  # paths drop dots


def _is_duration(text: str) -> str:
    try:
        milliseconds(text)
    except ValueError:
        raise PydanticCustomError("duration", "such as 500ms, 30s, 5m, 2h or 7d") from None
    return text


Duration = Annotated[str, AfterValidator(_is_duration)]


class Fields(BaseModel):
    """The fields of a body: those that are known, as they came."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _one_of(**fields: object) -> None:
    names = {"names": " or ".join(fields)}
    given = sum(value is not None for value in fields.values())
    if given == 0:
        raise PydanticCustomError("missing", "send {names}", names)
    if given > 1:
        raise PydanticCustomError("conflicting_fields", "send only one of {names}", names)


F = TypeVar("F", bound=Fields)


class ImageInput(Fields):
    """A picture of a request: base64 data, bytes of a form part, its URL, or an upload's id."""

    data: str | bytes | None = None
    url: str | None = None
    id: ImageId | None = None
    detail: Literal["auto", "high"] = "auto"

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        _one_of(data=self.data, url=self.url, id=self.id)
        return self

    @property
    def address(self) -> str | None:
        """Where it is to be fetched from; content parts have URLs and data URIs in one field."""
        if isinstance(self.data, str) and _WEB_URL.match(self.data):
            return self.data
        return self.url


class ImageUrl(Fields):
    """Where a content part's picture is: a data URI, or an upload."""

    url: str | None = None
    id: ImageId | None = None
    detail: Literal["auto", "low", "high"] = "auto"

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        _one_of(url=self.url, id=self.id)
        return self


class TextPart(Fields):
    """A text within a message."""

    type: Literal["text"]
    text: Text


class ImagePart(Fields):
    """A picture within a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(Fields):
    """One turn of a conversation, in OpenAI's shape."""

    role: Literal["system", "user", "assistant"]
    content: Text | Annotated[list[Part], Field(min_length=1)]


class WebhookInput(Fields):
    """Where the end of a job is told, and of which ends."""

    url: str = Field(min_length=1, max_length=MAX_URL_CHARS)
    events: list[Literal["completed", "succeeded", "failed", "canceled"]] = Field(
        default=["completed"], min_length=1, max_length=4
    )


class CreateJob(Fields):
    """The body of ``POST /v1/jobs``."""

    question: Text | None = None
    images: list[ImageInput] = []
    messages: list[Message] | None = None
    previous_job_id: Name | None = None
    model: Name | None = None
    max_new_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0, le=2, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    top_k: int = Field(default=0, ge=0, le=2**31 - 1)
    seed: int | None = Field(default=None, ge=0, le=2**32 - 1)
    stop: list[StopText] = Field(default=[], max_length=4)
    priority: Literal["high", "normal", "low"] = "normal"
    deadline: Duration | None = None
    group: Group | None = None
    supersede: bool = False
    metadata: dict[str, Any] = {}
    webhook: WebhookInput | None = None
    cache: bool = True

    @field_validator("stop", mode="before")
    @classmethod
    def _stop_may_be_one_text(cls, value: Any) -> Any:
        if value is None:
            return []
        return [value] if isinstance(value, str) else value

    @field_validator("metadata")
    @classmethod
    def _metadata_is_small(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            size = len(json.dumps(value, allow_nan=False))
        except ValueError:
            raise PydanticCustomError("number", "a number is too large for JSON") from None
        if size > MAX_METADATA_BYTES:
            raise PydanticCustomError("too_long", f"at most {MAX_METADATA_BYTES} bytes as JSON")
        return value

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.messages is not None:
            if self.question is not None or self.images or self.previous_job_id is not None:
                told = "send either messages, or question, images and previous_job_id"
                raise PydanticCustomError("conflicting_fields", told)
            if not self.messages or self.messages[-1].role != "user":
                raise PydanticCustomError("question_missing", "the last message must be a user's")
        elif self.question is None:
            raise PydanticCustomError("question_missing", "send a question, or messages")
        if self.supersede and self.group is None:
            raise PydanticCustomError("missing", "supersede needs a group")
        if not self.sources and self.previous_job_id is None:
            raise PydanticCustomError("image_missing", "send at least one picture in images")
        return self

    @property
    def deadline_ms(self) -> int | None:
        """The deadline in milliseconds from acceptance."""
        return milliseconds(self.deadline) if self.deadline else None

    @property
    def sources(self) -> list[ImageInput]:
        """The pictures, in the order in which the model sees them."""
        if self.messages is None:
            return self.images
        parts = [p for m in self.messages if isinstance(m.content, list) for p in m.content]
        shown = [part.image_url for part in parts if isinstance(part, ImagePart)]
        return [
            ImageInput(data=s.url, id=s.id, detail="high" if s.detail == "high" else "auto")
            for s in shown
        ]


def read_create_job(request: Request) -> CreateJob:
    """Return the body of a request to create a job, JSON or multipart.

    Raises MalformedRequest where it cannot be read, InvalidRequest where a field is wrong.
    """
    if request.mimetype == "multipart/form-data":
        return validated(CreateJob, _form(request), strict=False)
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("send application/json or multipart/form-data")
    return read_json(CreateJob, request)


def read_json(kind: type[F], request: Request) -> F:
    """Return the JSON body of a request.

    Raises UnsupportedMediaType, MalformedRequest where it cannot be read, InvalidRequest where a
    field is wrong.
    """
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("send application/json")
    data = body_budget.read()
    try:
        body = from_json(data, allow_inf_nan=False)
    except ValueError:
        raise MalformedRequest("the body is not valid JSON", code="malformed_json") from None
    finally:
        data.clear()
    if not isinstance(body, dict):
        raise MalformedRequest("the body must be a JSON object", code="not_an_object")
    return validated(kind, body, strict=True)


def image_bytes(source: str | bytes) -> bytes:
    """Return the bytes of a picture that came as a data URI, as bare base64, or as bytes.

    Raises InvalidRequest where it is neither; nothing is fetched here.
    """
    if isinstance(source, bytes):
        return source
    if _WEB_URL.match(source):
        raise InvalidRequest(
            "a URL is not taken here; send the picture itself", code="image_url_off", param="images"
        )
    prefix = _DATA_URI.match(source)
    try:
        return _decoded(source, prefix.end() if prefix else 0)
    except (binascii.Error, ValueError):
        raise InvalidRequest(
            "a picture must be a data URI (data:image/png;base64,...) with strict base64",
            code="invalid_base64",
            param="images",
        ) from None


def _decoded(source: str, start: int) -> bytes:
    """Return what base64 stands for, piece by piece; raises ValueError where it is not strict.

    Only at the end may there be padding: each piece but the last one is of whole bytes.
    """
    decoded = BytesIO()
    for at in range(start, len(source), _PIECE_CHARS):
        piece = source[at : at + _PIECE_CHARS]
        size = decoded.write(base64.b64decode(piece, validate=True))
        if size < _PIECE_CHARS // 4 * 3 and at + _PIECE_CHARS < len(source):
            raise ValueError("there is something after the end")
    return decoded.getvalue()


def _form(request: Request) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, values in request.form.lists():
        if name == "stop":
            fields[name] = values
            continue
        if len(values) > 1 or name == "images":
            raise InvalidRequest(f"send one field {name!r}", code="invalid_field", param=name)
        fields[name] = values[0]
    for name in ("metadata", "messages", "webhook"):
        if name in fields:
            try:
                fields[name] = from_json(fields[name], allow_inf_nan=False)
            except ValueError:
                raise InvalidRequest(
                    f"{name} must be JSON text", code="malformed_json", param=name
                ) from None
    for name in request.files:
        if name != "image":
            raise InvalidRequest(
                f"unknown file part {name!r}; pictures are named image",
                code="unknown_field",
                param=name,
            )
    parts = request.files.getlist("image")
    # Without such parts there is nothing that it could apply to: then it is an unknown field.
    detail = fields.pop("detail", "auto") if parts else "auto"
    fields["images"] = [{"data": taken(part), "detail": detail} for part in parts]
    return fields


def validated(kind: type[F], fields: dict[str, Any], *, strict: bool) -> F:
    """Return a body of a kind; ``strict`` takes no text for a number. Raises InvalidRequest."""
    try:
        return kind.model_validate(fields, strict=strict)
    except ValidationError as error:
        raise invalid(error) from None
