"""The GPU worker: `celery -A worker worker` claims jobs, answers them and finishes them."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # Celery looks for this attribute; made on demand, importing the package reads no environment.
    if name == "celery":
        from jobs.settings import Settings
        from worker.app import create_app

        return create_app(Settings())
    raise AttributeError(name)
