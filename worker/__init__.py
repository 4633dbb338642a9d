"""The GPU worker: `celery -A worker worker` claims jobs, answers them and finishes them."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # Celery looks for this attribute; made on demand, importing the package reads no environment.
    if name == "celery":
        import os
        import sys

        from jobs.errors import ConfigurationError
        from jobs.settings import Settings
        from worker.app import create_app

        try:
            settings = Settings()
            _ = settings.required_redis_url  # said before torch, which takes seconds to load
            if settings.quantize not in ("int8", "int4"):
                # transformers imports torchao wherever there is one, and it is slow to import.
                sys.modules["torchao"] = None  # type: ignore[assignment]
            from worker import loading

            return create_app(settings, loading)
        except ConfigurationError as error:
            print(f"llava-jobs worker: {error}", file=sys.stderr, flush=True)
            raise SystemExit(os.EX_CONFIG) from None
    raise AttributeError(name)
