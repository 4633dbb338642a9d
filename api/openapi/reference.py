"""The description for people: what the page and the document both show of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel

from api.openapi.code_samples import curl
from api.openapi.document import document
from api.openapi.error_codes import faults
from api.openapi.operation import Answer, Operation, Schema
from api.openapi.refusals import errors_of, scopes_of
from api.openapi.schema_text import Row, links, rows, words
from api.openapi.schemas import meanings
from api.openapi.sections import SECTIONS


@dataclass(frozen=True)
class Thing:
    """An object of requests or answers; ``place`` is where it is found on the page."""

    name: str
    about: str
    rows: list[Row]

    @property
    def place(self) -> str:
        """Its anchor."""
        return f"object-{self.name.lower()}"


@dataclass(frozen=True)
class ShownAnswer:
    """An answer with its example as text; ``kind`` says in words what its body is."""

    status: int
    meaning: str
    kind: str
    headers: tuple[str, ...]
    example: str


@dataclass(frozen=True)
class ShownCall:
    """A call with all that is shown of it."""

    operation: Operation
    scopes: tuple[str, ...]
    curl: str
    parameters: list[Row]
    body: str
    answers: list[ShownAnswer]
    errors: dict[int, tuple[str, ...]]


@dataclass(frozen=True)
class ShownSection:
    """Calls that belong together."""

    title: str
    about: str
    calls: list[ShownCall]

    @property
    def place(self) -> str:
        """Its anchor."""
        return self.title.lower().replace(" ", "-").replace("'", "").replace(",", "")


@cache
def sections() -> list[ShownSection]:
    """Return all calls by section."""
    return [
        ShownSection(section.title, section.about, [_call(o) for o in section.operations])
        for section in SECTIONS
    ]


@cache
def things(*, of_requests: bool) -> list[Thing]:
    """Return the objects of requests, or those of answers, those first that calls name."""
    known = meanings()
    named = [
        model.__name__
        for section in SECTIONS
        for operation in section.operations
        for model in (
            [operation.body.model if operation.body else None]
            if of_requests
            else _models(operation)
        )
        if model
    ]
    left, found = list(dict.fromkeys(named)), dict[str, Thing]()
    while left:
        name = left.pop(0)
        if name in found or (name in known) is not of_requests:
            continue
        found[name] = thing = _thing(name, _components()[name])
        left = [link for row in thing.rows for link in links(row.kind)] + left
    if not of_requests:
        found |= {name: _thing(name, _components()[name]) for name in ("Problem", "OpenAIError")}
    return list(found.values())


def _models(operation: Operation) -> list[type[BaseModel] | None]:
    """Return what a call's answers and their events are made of."""
    told = [model for answer in operation.answers for _, model in answer.events]
    answers = operation.answers
    return [*(a.model for a in answers), *told, *(a.receipt for a in answers)]


def _thing(name: str, schema: Schema) -> Thing:
    return Thing(name, schema.get("description", ""), rows(schema, _components()))


def _components() -> dict[str, Schema]:
    found: dict[str, Schema] = document()["components"]["schemas"]
    return found


def _call(operation: Operation) -> ShownCall:
    body = operation.body
    return ShownCall(
        operation,
        tuple(scope.value for scope in scopes_of(operation)),
        curl(operation),
        [
            Row(
                parameter.name,
                words(parameter.schema, _components()),
                f"in the {parameter.place}"
                if parameter.place == "path"
                else _or_default(parameter.place, parameter.schema),
                parameter.meaning,
            )
            for parameter in operation.parameters
        ],
        words({"$ref": f"/{body.model.__name__}"}, _components()) if body else "",
        [_answer(answer) for answer in operation.answers],
        dict(errors_of(operation)),
    )


def _or_default(place: str, schema: Schema) -> str:
    told = "header" if place == "header" else "query"
    return f"{told}; `{schema['default']}`" if "default" in schema else told


def _answer(answer: Answer) -> ShownAnswer:
    kind = words({"$ref": f"/{answer.model.__name__}"}, _components()) if answer.model else ""
    if answer.receipt:
        receipt = words({"$ref": f"/{answer.receipt.__name__}"}, _components())
        kind += f"; {receipt} for a key without `read`"
    if answer.events:
        kind = "events: " + ", ".join(
            f"`{name}` [{model.__name__}](#object-{model.__name__.lower()})"
            for name, model in answer.events
        )
    return ShownAnswer(answer.status, answer.meaning, kind, answer.headers, _text(answer.example))


def _text(example: Any) -> str:
    if example is None or isinstance(example, str):
        return example or ""
    return json.dumps(example, indent=2, ensure_ascii=False)


def error_rows() -> dict[str, list[tuple[str, str, str, str]]]:
    """Return errors by kind: code, statuses, cause and cure of each."""
    return {
        kind: [
            (f.code, ", ".join(map(str, f.statuses)), f.cause, f.cure)
            for f in faults(kind).values()
        ]
        for kind in ("calls", "jobs", "batches", "operators")
    }
