"""JSON schemas of requests and answers, out of the models that validate and describe them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from api.openapi.answers import Shown
from api.openapi.operation import Schema

REF = "#/components/schemas/{model}"
_MEANINGS = Path(__file__).with_name("fields.toml")
DURATION = {"type": "string", "pattern": "^[1-9][0-9]{0,8}(ms|s|m|h|d)$"}
TENANT = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.\\-]{0,63}$"}
GROUP = {"type": "string", "maxLength": 200, "pattern": "^(?:\\.?[^.]|\\.\\.[\\s\\S])"}
PICTURE = {"type": "string", "format": "picture"}


@cache
def meanings() -> dict[str, dict[str, str]]:
    """Return what each field of each model of a request means."""
    return tomllib.loads(_MEANINGS.read_text(encoding="utf-8"))


def schemas(models: Iterable[type[BaseModel]]) -> dict[str, Schema]:
    """Return the schemas of models and of all that they are made of, by name."""
    modes: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (model, "serialization" if issubclass(model, Shown) else "validation") for model in models
    ]
    _, made = models_json_schema(modes, ref_template=REF)
    return {name: _told(name, schema) for name, schema in sorted(made["$defs"].items())}


def reference(model: type[BaseModel]) -> Schema:
    """Return what points to a model's schema."""
    return {"$ref": REF.format(model=model.__name__)}


def _told(name: str, schema: Schema) -> Schema:
    """Return a schema as it is published: no noise, each field's meaning, what it may not be."""
    told: Schema = _plain(schema)
    if "description" in told:
        told["description"] = " ".join(told["description"].replace("``", "`").split())
    known = meanings().get(name)
    if known is None:
        # An answer may have more fields in a later version; a request may not.
        told.pop("additionalProperties", None)
        return told
    for field, meaning in known.items():
        told["properties"][field]["description"] = meaning
    if name in _BEYOND:
        _BEYOND[name](told)
    return told


def _plain(value: Any, *, names: bool = False) -> Any:
    """Return a schema without titles, and without bytes, which JSON has not."""
    if isinstance(value, list):
        return [_plain(v) for v in value if v != {"format": "binary", "type": "string"}]
    if not isinstance(value, dict):
        return value
    return {
        key: _plain(part, names=key == "properties")
        for key, part in value.items()
        if names or (key != "title" and (key, part) != ("default", None))
    }


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _only_one_of(schema: Schema, *names: str) -> None:
    """Demand one field of several, whatever the others are not."""
    schema["oneOf"] = [_given(name) for name in names]


def _given(name: str) -> Schema:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def _put(schema: Schema, field: str, what: Schema) -> None:
    """Say anew what a field may be, and keep what it means."""
    old = schema["properties"][field]
    kept = {key: old[key] for key in ("description", "default") if key in old}
    schema["properties"][field] = {**what, **kept}


SHOWN = {
    "contains": {
        "properties": {
            "content": {
                "type": "array",
                "contains": {
                    "type": "object",
                    "required": ["type"],
                    "properties": {"type": {"const": "image_url"}},
                },
            }
        }
    }
}
"""Of a conversation: somewhere a picture is shown."""


def _job(schema: Schema) -> None:
    _put(schema, "deadline", _or_null(DURATION))
    _put(schema, "group", _or_null(GROUP))
    one = schema["properties"]["stop"]["items"]
    many = {"type": "array", "items": one, "maxItems": 4}
    _put(schema, "stop", {"anyOf": [one, many, {"type": "null"}]})
    pictures = {"required": ["images"], "properties": {"images": {"minItems": 1}}}
    alone = {
        "required": ["messages"],
        "properties": {
            "messages": {"type": "array", **SHOWN},
            "question": {"type": "null"},
            "images": {"maxItems": 0},
            "previous_job_id": {"type": "null"},
        },
    }
    asked = {**_given("question"), "properties": {"question": {"type": "string"}}}
    asked["properties"]["messages"] = {"type": "null"}
    shown = {"anyOf": [pictures, _given("previous_job_id")]}
    schema["anyOf"] = [{"allOf": [asked, shown]}, alone]
    schema["if"] = {"required": ["supersede"], "properties": {"supersede": {"const": True}}}
    schema["then"] = _given("group")


def _image(schema: Schema) -> None:
    _put(schema, "data", _or_null(PICTURE))
    _only_one_of(schema, "data", "url", "id")


def _chat(schema: Schema) -> None:
    number = {"type": "integer", "minimum": 1}
    text = {"type": "string", "minLength": 1, "maxLength": 64}
    texts = {"type": "array", "items": text, "maxItems": 4}
    _put(schema, "max_tokens", _or_null(number))
    _put(schema, "max_completion_tokens", _or_null(number))
    _put(schema, "temperature", _or_null({"type": "number", "minimum": 0, "maximum": 2}))
    _put(schema, "top_p", _or_null({"type": "number", "exclusiveMinimum": 0, "maximum": 1}))
    _put(schema, "seed", _or_null({"type": "integer", "minimum": 0, "maximum": 2**32 - 1}))
    _put(schema, "stop", {"anyOf": [text, texts, {"type": "null"}]})
    schema["properties"]["messages"] |= SHOWN
    both = [_given("max_tokens"), _given("max_completion_tokens")]
    schema["not"] = {"allOf": both}
    schema["if"] = _given("stream_options")
    schema["then"] = {"required": ["stream"], "properties": {"stream": {"const": True}}}


def _key(schema: Schema) -> None:
    _put(schema, "tenant", TENANT)
    _put(schema, "expires_in", _or_null(DURATION))


_BEYOND: dict[str, Callable[[Schema], None]] = {
    "CreateJob": _job,
    "ImageInput": _image,
    "ImageUrl": lambda schema: _only_one_of(schema, "url", "id"),
    "ChatCompletion": _chat,
    "CreateImage": lambda schema: _put(schema, "data", PICTURE),
    "CreateKey": _key,
    "RotateKey": lambda schema: _put(schema, "overlap", _or_null(DURATION)),
}
"""What the models' own validators hold a request to, which pydantic cannot tell in a schema."""
