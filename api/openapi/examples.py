"""The job, the picture and the key of all examples."""

from __future__ import annotations

from typing import Any

PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAGUlEQVR42mNsaGhgIAUwMZAI"
    "RjWMahg6GgDJTAGg54KQ4AAAAABJRU5ErkJggg=="
)
"""The smallest picture that is taken: 16 pixels square, and grey."""
QUESTION = "What is the error code?"
JOB_ID = "job_8f0c6a1d2b3e4f5a6b7c8d9e0f1a2b3c"
IMAGE_ID = "img_1b2c3d4e5f60718293a4b5c6d7e8f901"
GROUP = "ticket-123"
MODEL = "demo"
URL = "https://support.example.com/answers"

QUEUED: dict[str, Any] = {
    "id": JOB_ID,
    "status": "queued",
    "status_reason": None,
    "model": MODEL,
    "question": QUESTION,
    "answer": None,
    "error": None,
    "created_at": "2026-11-25T09:30:00.000Z",
    "started_at": None,
    "finished_at": None,
    "expires_at": None,
    "cancel_requested_at": None,
    "compute_stopped_at": None,
    "tokens_after_cancel": None,
    "priority": "normal",
    "queue": {
        "position": 3,
        "estimated_start": "2026-11-25T09:30:01.200Z",
        "estimated_finish": {"p50": "2026-11-25T09:30:02.100Z", "p90": "2026-11-25T09:30:03.000Z"},
    },
    "attempts": [],
    "usage": None,
    "timing": None,
    "previous_job_id": None,
    "deduplicated_from": None,
    "group": GROUP,
    "metadata": {"customer": 4711},
    "webhook_status": None,
    "links": {
        "self": f"/v1/jobs/{JOB_ID}",
        "cancel": f"/v1/jobs/{JOB_ID}/cancel",
        "stream": f"/v1/jobs/{JOB_ID}/stream",
    },
}
SUCCEEDED: dict[str, Any] = {
    **QUEUED,
    "status": "succeeded",
    "answer": {"text": "E42", "finish_reason": "stop"},
    "started_at": "2026-11-25T09:30:01.180Z",
    "finished_at": "2026-11-25T09:30:02.050Z",
    "expires_at": "2026-11-26T09:30:02.050Z",
    "queue": None,
    "attempts": [
        {
            "number": 1,
            "worker": "worker@gpu-1",
            "started_at": "2026-11-25T09:30:01.180Z",
            "ended_at": "2026-11-25T09:30:02.050Z",
            "outcome": "succeeded",
        }
    ],
    "usage": {"prompt_tokens": 412, "cached_tokens": 0, "completion_tokens": 4},
    "timing": {"queue_ms": 1180, "preprocess_ms": 6.1, "vision_ms": 31.0, "generate_ms": 620.4},
}
CANCELED: dict[str, Any] = {
    **QUEUED,
    "status": "canceled",
    "status_reason": "canceled",
    "finished_at": "2026-11-25T09:30:00.700Z",
    "expires_at": "2026-11-26T09:30:00.700Z",
    "cancel_requested_at": "2026-11-25T09:30:00.700Z",
    "queue": None,
}
STREAM = f"""retry: 1000

id: processing-1:0:e4a6a0577479b2b4
event: status
data: {{"id": "{JOB_ID}", "status": "processing", "attempt": 1, "queue": null, "restart": false}}

id: processing-1:3:f2d4b8a1c0e35796
event: token
data: {{"text": "E42"}}

id: done
event: done
data: {{"id": "{JOB_ID}", "status": "succeeded", "answer": {{"text": "E42"}}}}
"""


def listed(*things: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a list in OpenAI's shape."""
    return {"object": "list", "data": list(things), "next": None, **more}
