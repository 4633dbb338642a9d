"""Answers of calls as OpenAPI says them: those that were asked for, and errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from api.openapi.error_codes import faults
from api.openapi.headers import HEADERS, SHARE
from api.openapi.operation import JSON, MESSAGE, Answer, Link, Operation, Schema
from api.openapi.problem import Problem
from api.openapi.refusals import errors_of, scopes_of
from api.openapi.schemas import reference
from api.openapi.sections import operations

PROBLEM = "application/problem+json"
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
LAST = "[DONE]"
"""The data of the last event of a stream whose events have no names."""
Error = tuple[int, tuple[str, ...]]
"""A status, and the codes that come with it."""


def responses(operation: Operation) -> Schema:
    """Return all answers of a call by status."""
    errors = {str(status): _error(status, codes) for status, codes in errors_of(operation).items()}
    return {**_answers(operation), **errors}


def shared_errors() -> Schema:
    """Return the errors that several calls have, by the names under which these refer to them."""
    return {name: _said(*error) for error, name in _names().items()}


def header(name: str) -> Schema:
    """Return what a header of an answer is."""
    told = HEADERS[name]
    return {
        "description": told.meaning,
        "required": told.always,
        "schema": {"type": "string"},
        "example": told.example,
    }


def example_problem(status: int, code: str) -> dict[str, Any]:
    """Return an error as it is answered."""
    fault = {**faults("jobs"), **faults("calls")}[code]
    detail = f"{fault.cause}; {fault.cure}" if fault.cure else fault.cause
    default = "server_error" if status >= 500 else "invalid_request_error"
    kind = _TYPES.get(status, default)
    return {
        "type": f"urn:llava-jobs:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": "/v1/jobs",
        "error": {"message": detail, "type": kind, "param": None, "code": code},
    }


def _answers(operation: Operation) -> Schema:
    said: dict[str, Schema] = {}
    for answer in operation.answers:
        place = said.setdefault(str(answer.status), {"description": answer.meaning})
        if answer.meaning != place["description"]:
            place["description"] += f"; {answer.meaning}"
        names = (*answer.headers, *(SHARE if scopes_of(operation) else ()))
        place.setdefault("headers", {}).update(_headers(names))
        if answer.model or answer.example is not None:
            place.setdefault("content", {})[answer.media] = _content(answer)
        if answer.links:
            place["links"] = dict(_links(answer.links))
    return {status: {k: v for k, v in place.items() if v} for status, place in said.items()}


def _content(answer: Answer) -> Schema:
    schema: Schema
    if answer.model and answer.receipt:
        schema = {"anyOf": [reference(answer.model), reference(answer.receipt)]}
    elif answer.model:
        schema = reference(answer.model)
    elif answer.events:
        schema = {"anyOf": [_event(name, model) for name, model in answer.events]}
        if answer.events[0][0] == MESSAGE:
            schema["anyOf"].append({"type": "object", "properties": {"data": {"const": LAST}}})
    else:
        schema = {"type": "object" if answer.media == JSON else "string"}
    return {"schema": schema, "example": answer.example}


def _event(name: str, model: type[BaseModel]) -> Schema:
    """Return what an event of a stream is; its data is JSON text."""
    data = {
        "type": "string",
        "contentMediaType": JSON,
        "contentSchema": reference(model),
    }
    named: Schema = {"event": {"const": name}} if name != MESSAGE else {}
    return {
        "type": "object",
        "description": f"`{name}`",
        "required": ["data", *named],
        "properties": {"id": {"type": "string"}, **named, "data": data},
    }


def _links(links: Iterable[Link]) -> Iterator[tuple[str, Schema]]:
    for link in links:
        leads: Schema = {"operationId": link.operation, "parameters": dict(link.parameters)}
        if link.body:
            leads["requestBody"] = dict(link.body)
        yield link.operation, leads


def _headers(names: Iterable[str]) -> dict[str, Schema]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _error(status: int, codes: tuple[str, ...]) -> Schema:
    name = _names().get((status, codes))
    return {"$ref": f"#/components/responses/{name}"} if name else _said(status, codes)


@cache
def _names() -> dict[Error, str]:
    """Return the names of the errors that more than one call has."""
    counted = Counter(
        (status, codes)
        for operation in operations()
        for status, codes in errors_of(operation).items()
    )
    stems: Counter[str] = Counter()
    names = {}
    for status, codes in (error for error, times in counted.items() if times > 1):
        stem = f"{status}_{codes[0]}"
        stems[stem] += 1
        names[status, codes] = stem if stems[stem] == 1 else f"{stem}_{stems[stem]}"
    return names


def _said(status: int, codes: tuple[str, ...]) -> Schema:
    told = {**faults("jobs"), **faults("calls")}
    narrowed = {"properties": {"error": {"properties": {"code": {"enum": list(codes)}}}}}
    names = ("WWW-Authenticate",) if status == 401 else ()
    said: Schema = {
        "description": "\n".join(f"- `{code}`: {told[code].cause}" for code in codes),
        "headers": _headers((*names, *(("Retry-After",) if status in (429, 503) else ()))),
        "content": {
            PROBLEM: {
                "schema": {"allOf": [reference(Problem), narrowed]},
                "example": example_problem(status, codes[0]),
            }
        },
    }
    return {name: part for name, part in said.items() if part}
