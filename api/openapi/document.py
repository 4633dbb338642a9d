"""The OpenAPI 3.1 document, out of what is said of each call."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

from pydantic import BaseModel

from api.openapi.headers import HEADERS
from api.openapi.operation import Operation, Parameter, Schema
from api.openapi.problem import Problem
from api.openapi.refusals import scopes_of
from api.openapi.request_bodies import request_body
from api.openapi.responses import header, responses, shared_errors
from api.openapi.schemas import schemas
from api.openapi.sections import SECTIONS, operations

_ABOUT = """Questions about pictures, answered by LLaVA: submit a job, then ask for its answer.

Every call under `/v1` needs `Authorization: Bearer <key>`. A key belongs to a tenant; another
tenant's things are a 404. Times are RFC 3339 in UTC. Errors are `application/problem+json` with an
`error` member in OpenAI's shape; `error.code` is stable. `/docs` says the same on a page."""
_KEY_ABOUT = """A key, `lj_<id>_<secret>`. Its scopes, none of which implies another, are `read`
(every `GET` under `/v1` but `/v1/admin`), `submit` (every other method there) and `admin`
(`/v1/admin`). Chat completions need `submit` and `read`, as they answer. A key without `read` is
shown receipts: ids and states, and nothing of what was asked, answered or sent."""


@cache
def document() -> Schema:
    """Return the description of the API as OpenAPI 3.1."""
    paths: dict[str, dict[str, Schema]] = {}
    for section in SECTIONS:
        for operation in section.operations:
            said = _operation(operation, section.title)
            paths.setdefault(operation.path, {})[operation.method.lower()] = said
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "llava-jobs",
            "version": version("llava-jobs"),
            "summary": "A job server for visual question answering",
            "description": _ABOUT,
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": section.title, "description": section.about} for section in SECTIONS],
        "paths": paths,
        "components": {
            "schemas": schemas(_models()),
            "headers": {name: header(name) for name in HEADERS},
            "responses": shared_errors(),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": _KEY_ABOUT}
            },
        },
    }


def _models() -> list[type[BaseModel]]:
    """Return the models of all bodies and all answers."""
    found: dict[str, type[BaseModel]] = {Problem.__name__: Problem}
    for operation in operations():
        answers = operation.answers
        answered = [m for answer in answers for m in (answer.model, answer.receipt) if m]
        told = [model for answer in answers for _, model in answer.events]
        sent = [operation.body.model] if operation.body else []
        for model in [*answered, *told, *sent]:
            found[model.__name__] = model
    return list(found.values())


def _operation(operation: Operation, tag: str) -> Schema:
    scopes = scopes_of(operation)
    said: Schema = {"operationId": operation.name, "tags": [tag], "summary": operation.summary}
    if operation.detail:
        said["description"] = operation.detail
    said["security"] = [{"key": [scope.value for scope in scopes]}] if scopes else []
    if operation.parameters:
        said["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if operation.body:
        said["requestBody"] = request_body(operation.body)
    said["responses"] = responses(operation)
    return said


def _parameter(parameter: Parameter) -> Schema:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.meaning,
        "schema": parameter.schema,
        "example": parameter.example,
    }
