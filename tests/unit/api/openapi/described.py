"""Holds every answer that a test sees to the description of the API."""

import json
import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from werkzeug.test import TestResponse

from api.openapi.document import document

_ROOT = "urn:openapi"
PROBLEM = "application/problem+json"
METHOD_NOT_ALLOWED = 405
"""What a route answers to calls that it has not."""


@cache
def _registry() -> Any:
    """The document, with objects of answers that have no fields but those that are described."""
    told = json.loads(json.dumps(document()))
    for schema in told["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return Registry().with_resource(_ROOT, Resource.from_contents(told, DRAFT202012))


@cache
def _validator(text: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(text), registry=_registry())


def errors_in(value: Any, schema: dict[str, Any]) -> list[str]:
    """What is wrong with a value by a schema of the document; objects may have no other fields."""
    text = json.dumps(schema).replace('"#/', f'"{_ROOT}#/')
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in _validator(text).iter_errors(value)
    ]


@cache
def _calls() -> list[tuple[str, re.Pattern[str], dict[str, Any]]]:
    """Every described call: method, pattern of its path, and what is said of it."""
    return [
        (method.upper(), _pattern(path), said)
        for path, methods in document()["paths"].items()
        for method, said in methods.items()
    ]


def _pattern(path: str) -> re.Pattern[str]:
    # The names of groups and models may have slashes.
    named = re.escape(path).replace(r"\{name\}", ".+")
    return re.compile(re.sub(r"\\{\w+\\}", "[^/]+", named))


def assert_described(response: TestResponse) -> None:
    """Hold an answer to the description: its status, its media type, its body, its headers."""
    method = response.request.method.replace("HEAD", "GET")
    path = response.request.path
    told = [said for m, pattern, said in _calls() if m == method and pattern.fullmatch(path)]
    if not told or response.status_code == METHOD_NOT_ALLOWED:
        return
    where = f"{method} {path} answered {response.status_code}"
    said = told[0]["responses"].get(str(response.status_code))
    assert said, f"{where}, which is not described: add it in api/openapi/sections/"
    if "$ref" in said:
        said = document()["components"]["responses"][said["$ref"].rpartition("/")[2]]
    for name in said.get("headers", ()):
        if document()["components"]["headers"][name]["required"]:
            assert name in response.headers, f"{where} without {name}"
    if response.request.method == "HEAD":
        return
    content = said.get("content", {})
    if not content:
        assert not response.data, f"{where} with a body"
        return
    assert response.mimetype is not None
    assert response.mimetype in content, f"{where} with {response.mimetype}"
    if response.mimetype == "text/event-stream":
        _assert_told(response, content[response.mimetype]["schema"]["anyOf"])
    if response.mimetype.endswith("json"):
        wrong = errors_in(response.get_json(force=True), content[response.mimetype]["schema"])
        assert wrong == [], f"{where}, which is not what is described: {wrong}"


def _assert_told(response: TestResponse, kinds: list[dict[str, Any]]) -> None:
    """Hold each event of a stream to what is described of one of its name."""
    for block in response.text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")
        )
        if "data" not in fields or fields["data"] == "[DONE]":
            continue
        data = json.loads(fields["data"])
        name = fields.get("event")
        wrong = [
            errors_in(data, kind["properties"]["data"]["contentSchema"])
            for kind in kinds
            if "contentSchema" in kind["properties"]["data"]
            and kind["properties"].get("event", {}).get("const") == name
        ]
        assert [] in wrong, f"{name}: {wrong}"
