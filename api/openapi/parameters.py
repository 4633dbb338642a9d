"""Parameters that several calls have, and those that a query's model makes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from api.openapi import examples
from api.openapi.operation import Parameter, Schema
from api.openapi.schemas import meanings

JOB_ID = Parameter("job_id", "path", "the job", {"type": "string"}, examples.JOB_ID)
PREFER = Parameter(
    "Prefer",
    "header",
    "`wait=N`: how many seconds the answer is held for, at most 60, until there is something to "
    "tell. Where as many calls are held as may be, it comes at once",
    {"type": "string"},
    "wait=30",
)


def named(name: str, meaning: str, example: str, **schema: Any) -> Parameter:
    """Return a parameter of the path."""
    return Parameter(name, "path", meaning, {"type": "string", **schema}, example)


def header(name: str, meaning: str, example: str, **schema: Any) -> Parameter:
    """Return a header that may be sent."""
    return Parameter(name, "header", meaning, {"type": "string", **schema}, example)


def of_query(model: type[BaseModel], **shown: str | int) -> tuple[Parameter, ...]:
    """Return the parameters of a query's model, with an example of each."""
    told = model.model_json_schema()
    return tuple(
        Parameter(name, "query", meanings()[model.__name__][name], _of(schema, told), shown[name])
        for name, schema in told["properties"].items()
    )


def _of(schema: Schema, root: Schema) -> Schema:
    """Return what a parameter may be: it is left out where a field may be null."""
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    found = choices[0] if choices else schema
    if "$ref" in found:
        found = root["$defs"][found["$ref"].rpartition("/")[2]]
    kept = ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "default")
    return {name: found[name] for name in kept if found.get(name) is not None}
