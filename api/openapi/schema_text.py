"""Schemas in words: what a field may be, for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from api.openapi.operation import Schema
from api.openapi.schemas import DURATION, TENANT

_NULL = {"type": "null"}
_PLAIN = {
    "boolean": "`true` or `false`",
    "object": "object",
    "null": "`null`",
}
_FORMS = {
    "date-time": "time",
    "picture": "picture",
    "binary": "file",
}
_PATTERNS: dict[str, str] = {DURATION["pattern"]: "duration", TENANT["pattern"]: "name"}
MOST = 2**31 - 1
"""A bound that nobody reaches is not worth a word."""


@dataclass(frozen=True)
class Row:
    """A field: its name, what it may be, what it is when left out, and what it means."""

    name: str
    kind: str
    default: str
    meaning: str


def rows(schema: Schema, components: dict[str, Schema]) -> list[Row]:
    """Return the fields of an object."""
    required = schema.get("required", ())
    return [
        Row(
            name,
            words(part, components),
            _default(part, needed=name in required),
            part.get("description", ""),
        )
        for name, part in schema["properties"].items()
    ]


def words(schema: Schema, components: dict[str, Schema]) -> str:
    """Return what a value may be; an object of its own is a link, `[Job](#object-job)`."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        found = components[name]
        return words(found, components) if "enum" in found else f"[{name}](#object-{name.lower()})"
    choices = schema.get("anyOf") or (schema.get("oneOf") if "properties" not in schema else None)
    if choices:
        return _either([words(choice, components) for choice in choices])
    if "enum" in schema:
        return _either([f"`{value}`" for value in schema["enum"]])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        most = f"up to {schema['maxItems']} " if "maxItems" in schema else ""
        return f"list of {most}{words(schema['items'], components)}"
    return _scalar(schema)


def links(text: str) -> list[str]:
    """Return the names of the objects that words link to."""
    return re.findall(r"\[(\w+)\]", text)


def _scalar(schema: Schema) -> str:
    kind: str = schema.get("type", "anything")
    if kind == "string":
        known = (_FORMS.get(schema.get("format", "")), _PATTERNS.get(schema.get("pattern", "")))
        return next(filter(None, known), "text" + "".join(_length(schema)))
    if kind in {"integer", "number"}:
        return kind + "".join(_range(schema))
    return _PLAIN.get(kind, kind)


def _length(schema: Schema) -> Iterator[str]:
    if "maxLength" in schema:
        yield f" of {schema.get('minLength', 0)} to {schema['maxLength']} characters"


def _range(schema: Schema) -> Iterator[str]:
    if "minimum" in schema:
        yield f" from {schema['minimum']}"
    if "exclusiveMinimum" in schema:
        yield f" above {schema['exclusiveMinimum']}"
    if schema.get("maximum", MOST) != MOST:
        yield f" to {schema['maximum']}"


def _either(choices: list[str]) -> str:
    *first, last = choices
    return f"{', '.join(first)} or {last}" if first else last


def _default(schema: Schema, *, needed: bool) -> str:
    if needed:
        return "required"
    value = schema.get("default")
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{_listed(value)}`"


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
