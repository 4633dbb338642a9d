"""The codes of errors, each with its cause and its cure; error_codes.toml holds them."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from api.openapi.operation import Errors

_FILE = Path(__file__).with_name("error_codes.toml")


@dataclass(frozen=True)
class Fault:
    """An error that is told; ``statuses`` are those of answers, none where a job carries it."""

    code: str
    statuses: tuple[int, ...]
    cause: str
    cure: str


@cache
def faults(kind: str) -> dict[str, Fault]:
    """Return the errors of `calls`, of `jobs`, of `batches` or of `operators`, by code."""
    told = tomllib.loads(_FILE.read_text(encoding="utf-8"))[kind]
    return {
        code: Fault(code, tuple(fields.get("status", ())), fields["cause"], fields["cure"])
        for code, fields in told.items()
    }


def at_their_status(*codes: str) -> Errors:
    """Return codes by the status that each of them has first in error_codes.toml."""
    found: dict[int, tuple[str, ...]] = defaultdict(tuple)
    for code in codes:
        found[faults("calls")[code].statuses[0]] += (code,)
    return dict(found)


def together(*parts: Errors) -> dict[int, tuple[str, ...]]:
    """Return errors of several kinds as one, by ascending status, each code once."""
    found: dict[int, tuple[str, ...]] = defaultdict(tuple)
    for part in parts:
        for status, codes in part.items():
            found[status] += tuple(code for code in codes if code not in found[status])
    return dict(sorted(found.items()))
