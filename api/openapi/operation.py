"""What is said of a call: its parameters, its body, its answers, and where these lead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

Schema = dict[str, Any]
JSON = "application/json"
FORM = "multipart/form-data"
EVENTS = "text/event-stream"
PICTURE_PART = (
    "image",
    "image/png, image/jpeg, image/webp, image/gif, image/avif",
    "a JPEG, PNG, WebP, GIF or AVIF file",
)
"""The part of a form that is a picture: its name, its media types, and what it is."""
MESSAGE = "message"
"""The name of an event that has none."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a call; one in the path is always required."""

    name: str
    place: Literal["path", "query", "header"]
    meaning: str
    schema: Schema
    example: str | int


@dataclass(frozen=True)
class Form:
    """A body as a multipart form: pictures as file parts, the model's other fields as they are.

    ``instead_of`` is the field whose pictures these are, ``more`` are fields that only a form has,
    and ``texts`` those that are sent as JSON text; ``needs`` is what must be there, as a schema
    says it, unless that is a picture. In ``example``, `@panel.png` is a file. Where the file is
    no picture, ``file`` says the name of its part, its media type, and what it is.
    """

    instead_of: str
    many: bool
    example: Mapping[str, str]
    texts: tuple[str, ...] = ()
    more: Mapping[str, Schema] = field(default_factory=dict)
    needs: Schema = field(default_factory=dict)
    file: tuple[str, str, str] = PICTURE_PART


@dataclass(frozen=True)
class Body:
    """What a call carries: the model that validates it, and a body that is accepted.

    One that is ``only_form`` is not taken as JSON.
    """

    model: type[BaseModel]
    example: Mapping[str, Any]
    form: Form | None = None
    only_form: bool = False


@dataclass(frozen=True)
class Link:
    """Where an answer leads: the operation that is called next, with what of the answer.

    ``parameters`` maps names of that operation's parameters to runtime expressions, and ``body``
    is its body, in which there may be some, too.
    """

    operation: str
    parameters: Mapping[str, str]
    body: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """One way in which a call succeeds.

    ``model`` is None where there is no body, or where ``media`` says that it is not JSON;
    ``receipt`` is what a key without ``read`` is shown in its place.
    ``headers`` are names in ``api.openapi.headers``; ``events`` are those of a stream, each
    with the model of its data, and named `message` where they have no name.
    """

    status: int
    meaning: str
    model: type[BaseModel] | None = None
    example: Any = None
    media: str = JSON
    headers: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    events: tuple[tuple[str, type[BaseModel]], ...] = ()
    receipt: type[BaseModel] | None = None


Errors = Mapping[int, tuple[str, ...]]
"""Codes of errors by the status that they come with."""


@dataclass(frozen=True)
class Operation:
    """A call: ``call`` is its method and path, such as ``GET /v1/jobs/{job_id}``.

    ``errors`` are those of its own; what every call of its kind may answer is added to them.
    """

    call: str
    name: str
    summary: str
    answers: tuple[Answer, ...]
    detail: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    errors: Errors = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The method, in capitals."""
        return self.call.partition(" ")[0]

    @property
    def path(self) -> str:
        """The path, with names in braces."""
        return self.call.partition(" ")[2]


@dataclass(frozen=True)
class Section:
    """Calls that belong together."""

    title: str
    about: str
    operations: tuple[Operation, ...]
