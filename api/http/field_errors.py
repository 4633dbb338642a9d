"""What a caller is told of fields that are wrong: the first of them, by its own name."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from jobs.errors import InvalidRequest

_CODES = {
    "extra_forbidden": "unknown_field",
    "missing": "missing_field",
    "question_missing": "question_missing",
    "image_missing": "image_missing",
    "conflicting_fields": "conflicting_fields",
    "too_many_ids": "too_many_ids",
}
"""Types of pydantic's errors, and ours, to the codes that callers see; else invalid_field."""


def invalid(error: ValidationError) -> InvalidRequest:
    """Return what a caller is told of the first field that is wrong."""
    wrong = _first(error.errors(include_url=False, include_input=False))
    is_unknown = wrong["type"] == "extra_forbidden"
    last = len(wrong["loc"]) - 1
    path = [
        str(part)
        for at, part in enumerate(wrong["loc"])
        if not _is_branch(part) or (is_unknown and at == last)
    ]
    param = ".".join(path) or None
    code = _CODES.get(wrong["type"], "invalid_field")
    message = wrong["msg"] if param is None else f"{param}: {wrong['msg']}"
    return InvalidRequest(message, code=code, param=param)


def _first(errors: list[Any]) -> Any:
    """Return the first error; where a field may be of several kinds, what is nearest to one."""
    first = errors[0]
    branch = next((at for at, part in enumerate(first["loc"]) if _is_branch(part)), None)
    if branch is None:
        return first
    same = [error for error in errors if error["loc"][:branch] == first["loc"][:branch]]
    return max(same, key=lambda error: len(error["loc"]))


def _is_branch(part: int | str) -> bool:
    """Whether a part of a path names a kind that a field may be, such as `list[...]`."""
    return isinstance(part, str) and not part.isidentifier()
