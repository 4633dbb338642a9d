"""The GPU worker: `celery -A worker worker` claims jobs, answers them and finishes them."""

from __future__ import annotations

from typing import Any

_ACTIVE_TURNS = "20000"
"""How long torch's threads on a CPU wait actively for each other: about 1 ms, by default 16 ms.

Where another process keeps a core busy, two threads share a core for good, and each wait lasts
until the kernel takes the core from the one that waits. On two cores beside one busy process this
gave 2.6 times as many answers, and on an idle machine as many as before.
"""


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
            if "OMP_WAIT_POLICY" not in os.environ:
                os.environ.setdefault("GOMP_SPINCOUNT", _ACTIVE_TURNS)
            from worker import loading

            return create_app(settings, loading)
        except ConfigurationError as error:
            print(f"llava-jobs worker: {error}", file=sys.stderr, flush=True)
            raise SystemExit(os.EX_CONFIG) from None
    raise AttributeError(name)
