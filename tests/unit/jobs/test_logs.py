"""What libraries log is as structured as what we log, and quotes as little."""

import json
import subprocess
import sys
from typing import Any

PROGRAM = """
import logging, structlog
from jobs.errors import ConfigurationError
from jobs.logs import configure_logs

configure_logs()
configure_logs()
library, own = logging.getLogger("library"), structlog.get_logger()
library.warning("the connection to %s was lost", "the broker")
library.info("of no interest")
with structlog.contextvars.bound_contextvars(job="job_1"):
    try:
        raise RuntimeError("canary")
    except RuntimeError:
        library.exception("failed on %s", "/path?canary")
        own.error("request_failed", exc_info=True)
try:
    raise ConfigurationError("set LLAVA_JOBS_REDIS_URL")
except ConfigurationError:
    library.exception("cannot start")
"""


def test_records_of_libraries_are_lines_like_ours() -> None:
    command = [sys.executable, "-c", PROGRAM]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "canary" not in ran.stderr
    lines: list[dict[str, Any]] = [json.loads(line) for line in ran.stderr.splitlines()]
    for line in lines:
        assert line.pop("timestamp")
    lost, failed, own, cannot = lines
    assert lost == {
        "event": "the connection to the broker was lost",
        "level": "warning",
        "logger": "library",
    }
    where = ["<module>:13"]
    assert failed == {
        "event": "failed on %s",
        "level": "error",
        "logger": "library",
        "job": "job_1",
        "error": "RuntimeError",
        "where": where,
    }
    assert own == {
        "event": "request_failed",
        "level": "error",
        "job": "job_1",
        "error": "RuntimeError",
        "where": where,
    }
    assert cannot["message"] == "set LLAVA_JOBS_REDIS_URL", "who can mend it is told"
