"""Calls as somebody types them in a terminal, with `$URL` and `$KEY` set."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from api.openapi.operation import EVENTS, Operation
from api.openapi.refusals import scopes_of

_SHOWN_HEADERS = {"Prefer"}


def curl(operation: Operation) -> str:
    """Return the example of a call."""
    return " \\\n  ".join(_parts(operation))


def example_path(operation: Operation) -> str:
    """Return the path of a call with an example of what it names."""
    path = operation.path
    for parameter in operation.parameters:
        path = path.replace(f"{{{parameter.name}}}", str(parameter.example))
    return path


def _parts(operation: Operation) -> Iterator[str]:
    streams = any(answer.media == EVENTS for answer in operation.answers) and not operation.body
    options = " -N" if streams else ""
    method = f" -X {operation.method}" if _needs_method(operation) else ""
    yield f'curl{options}{method} "$URL{example_path(operation)}"'
    if scopes_of(operation):
        yield '-H "Authorization: Bearer $KEY"'
    for parameter in operation.parameters:
        if parameter.name in _SHOWN_HEADERS and operation.method == "GET":
            yield f'-H "{parameter.name}: {parameter.example}"'
    body = operation.body
    if body and body.form:
        for name, value in body.form.example.items():
            yield f"-F {shlex.quote(f'{name}={value}')}"
    elif body:
        yield '-H "Content-Type: application/json"'
        yield f"-d {shlex.quote(json.dumps(body.example))}"


def _needs_method(operation: Operation) -> bool:
    return operation.method != ("POST" if operation.body else "GET")
