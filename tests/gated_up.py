"""The `llava-jobs` command, whose `up` has workers that obey a test's gate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llava_jobs import up
from llava_jobs.child import Child
from llava_jobs.cli import main
from tests.gate import gated


def _child(name: str, command: list[str], env: Mapping[str, str], log: Path) -> Child:
    return Child(name, gated(command), env, log)


if __name__ == "__main__":
    up.Child = _child  # type: ignore[attr-defined,assignment]
    main()
