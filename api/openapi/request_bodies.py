"""Bodies of requests: as JSON, and as the forms that carry pictures as files."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel

from api.openapi.operation import FORM, JSON, Body, Form, Schema
from api.openapi.schemas import reference, schemas

_FILE = {"type": "string", "format": "binary"}


def request_body(body: Body) -> Schema:
    """Return what a call's body may be, in each way that it can be sent."""
    content: dict[str, Schema] = {}
    if not body.only_form:
        content[JSON] = {"schema": reference(body.model), "example": dict(body.example)}
    if body.form:
        part, media, _ = body.form.file
        content[FORM] = {
            "schema": form_schema(body.model, body.form),
            "encoding": {
                part: {"contentType": media},
                **{name: {"contentType": JSON} for name in body.form.texts},
            },
        }
    return {"required": True, "content": content}


@cache
def fields_of(model: type[BaseModel]) -> dict[str, Schema]:
    """Return the fields of a request's model, by name."""
    found: dict[str, Schema] = schemas([model])[model.__name__]["properties"]
    return found


def form_schema(model: type[BaseModel], form: Form) -> Schema:
    """Return the fields of a form."""
    part, _, what = form.file
    file: Schema = {**_FILE, "description": what}
    if form.many:
        file = {"type": "array", "items": _FILE, "description": f"{what}; repeated for more"}
    fields = {
        name: _never_null(schema)
        for name, schema in fields_of(model).items()
        if name != form.instead_of
    }
    return {
        "type": "object",
        "properties": {part: file, **form.more, **fields},
        "additionalProperties": False,
        **(form.needs or {"required": [part]}),
    }


def _never_null(schema: Schema) -> Schema:
    """Return what a field may be where it is left out rather than null."""
    choices: list[Any] = [c for c in schema.get("anyOf", ()) if c != {"type": "null"}]
    if not choices:
        return schema
    rest = {name: part for name, part in schema.items() if name != "anyOf"}
    return {**(choices[0] if len(choices) == 1 else {"anyOf": choices}), **rest}
