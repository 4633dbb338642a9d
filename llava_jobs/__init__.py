"""What users touch: the `llava-jobs` command and `from llava_jobs import Client`."""

from llava_jobs.client import ApiError, Client, JobFailed, StreamEvent

__all__ = ["ApiError", "Client", "JobFailed", "StreamEvent"]
