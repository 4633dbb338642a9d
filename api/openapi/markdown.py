"""The reference part of docs/api.md."""

from __future__ import annotations

from collections.abc import Iterator

from api.openapi.reference import Thing, error_rows, sections, things

_KINDS = {
    "calls": "What a call is answered with:",
    "jobs": "A job that `failed` carries one of these in its own `error.code`:",
    "batches": "The `errors` of a batch that `failed`, and `error.code` in an error file:",
    "operators": "What operators see and callers do not:",
}


def markdown() -> str:
    """Return the reference: calls, objects, errors."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "## Reference"
    yield ""
    yield "Made by `make docs` from the description that `/openapi.json` and `/docs` are made of."
    yield ""
    yield "### Calls"
    for section in sections():
        yield from ("", f"**{section.title}.** {section.about}", "")
        yield "| call | does | scope | answers | errors of its own |"
        yield "|---|---|---|---|---|"
        for call in section.calls:
            answers = "; ".join(f"{answer.status} {answer.meaning}" for answer in call.answers)
            errors = {code: None for codes in call.operation.errors.values() for code in codes}
            yield _row(
                f"`{call.operation.call}`",
                call.operation.summary,
                " and ".join(f"`{scope}`" for scope in call.scopes) or "none",
                answers,
                ", ".join(f"`{code}`" for code in errors),
            )
    yield from ("", "### Objects of requests")
    for thing in things(of_requests=True):
        yield from _thing(thing)
    yield from ("", "### Objects of answers", "", "Later versions may add fields to them.")
    for thing in things(of_requests=False):
        yield from _thing(thing)
    yield from ("", "### Errors")
    yield from _errors()


def _thing(thing: Thing) -> Iterator[str]:
    yield from ("", f"#### Object {thing.name}", "", thing.about, "")
    needs_default = any(row.default not in ("", "required") for row in thing.rows)
    yield (
        "| field | what it may be | unless told | what it is |"
        if needs_default
        else ("| field | what it may be | what it is |")
    )
    yield "|---|---|---|---|" if needs_default else "|---|---|---|"
    for row in thing.rows:
        default = [row.default] if needs_default else []
        yield _row(f"`{row.name}`", row.kind, *default, row.meaning)


def _errors() -> Iterator[str]:
    for kind, rows in error_rows().items():
        has_status = any(status for _, status, _, _ in rows)
        yield from ("", _KINDS[kind], "")
        yield "| code | status | cause | cure |" if has_status else "| code | cause | cure |"
        yield "|---|---|---|---|" if has_status else "|---|---|---|"
        for code, status, cause, cure in rows:
            yield _row(f"`{code}`", *([status] if has_status else []), cause, cure)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
