"""What the API answers with: its objects, field by field, in the order in which they come."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.job import Priority, Reason, Status
from jobs.webhook import Told

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
JobId = Annotated[str, Field(pattern=r"^job_[0-9a-f]{32}$")]
Count = Annotated[int, Field(ge=0)]


class Shown(BaseModel):
    """An object of an answer. Later versions may add fields to it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Listed(Shown):
    """A list of objects in OpenAI's shape, which each kind of list adds its ``data`` to."""

    object: Literal["list"]
    next: str | None
    """the cursor of what comes behind; `null`: there is no more"""


class Text(Shown):
    """An answer."""

    text: str
    """what the model said"""
    finish_reason: Literal["stop", "length"]
    """`stop`: it was done, or came to a text of `stop`; `length`: it had no tokens left"""


class JobError(Shown):
    """Why a job failed."""

    code: str
    """stable; the second table of errors says what each means"""
    message: str
    """the cause and the cure, for people"""
    rule: str | None = None
    """of a refusal: the content policy's own code"""


class Odds(Shown):
    """When something will have happened with 50 and with 90 % odds."""

    p50: Moment
    p90: Moment


class Queue(Shown):
    """The place of a job that waits."""

    position: Annotated[int, Field(ge=1)]
    """its place, from 1 on: an upper bound within its class"""
    estimated_start: Moment | None
    """forecast from what the model's workers did last; `null`: none lives or has answered"""
    estimated_finish: Odds | None
    """forecast likewise"""


class JobAttempt(Shown):
    """One worker's try at a job."""

    number: Annotated[int, Field(ge=1)]
    worker: str
    started_at: Moment
    ended_at: Moment | None
    outcome: str | None
    """how it ended: a status, `retried`, `lost` and the like; `null`: it runs"""


class Usage(Shown):
    """Tokens that a job took."""

    prompt_tokens: Count
    cached_tokens: Count
    """of the prompt, those that were known from before"""
    completion_tokens: Count


class Timing(Shown):
    """Where a job's time went, in milliseconds."""

    queue_ms: float
    preprocess_ms: float
    vision_ms: float
    generate_ms: float


class JobLinks(Shown):
    """Where a job is found, as paths."""

    self: str
    cancel: str
    stream: str


class Job(Shown):
    """A job: what was asked, where it stands, and how it ended."""

    id: JobId
    status: Status
    """the last three are final"""
    status_reason: Reason | None
    """why it ended as it did, where the status alone does not say"""
    model: str
    question: str
    """the last turn's text"""
    answer: Text | None
    error: JobError | None
    """why it `failed`"""
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    expires_at: Moment | None
    """when it is forgotten, once it has ended"""
    cancel_requested_at: Moment | None
    compute_stopped_at: Moment | None
    """when its worker stopped, where it was canceled while it ran"""
    tokens_after_cancel: int | None
    """tokens generated between these two"""
    priority: Priority
    queue: Queue | None
    """its place while it waits; not in lists"""
    attempts: list[JobAttempt]
    usage: Usage | None
    timing: Timing | None
    """`null` while it runs, and of a job that another one answered"""
    previous_job_id: str | None
    """the job whose conversation it goes on with"""
    deduplicated_from: str | None
    """the job whose work answers it"""
    group: str | None
    metadata: dict[str, Any]
    webhook_status: Told | None
    """whether its receiver was told; `null`: there is nothing to tell, or not yet"""
    links: JobLinks


class Image(Shown):
    """A picture that is kept for later jobs to name."""

    id: Annotated[str, Field(pattern=r"^img_[0-9a-f]{32}$")]
    width: Count
    height: Count
    expires_at: Moment


class JobEvent(Shown):
    """A change of a job's state."""

    id: str
    """its cursor"""
    job: JobId
    status: Status
    reason: Reason | None
    at: Moment


class JobEventList(Shown):
    """Changes in order."""

    object: Literal["list"]
    data: list[JobEvent]
    next: str
    """the cursor to go on from"""
    gap: bool
    """events between your cursor and the first one shown are no longer kept: list the jobs"""


class Model(Shown):
    """A model that has live workers, in OpenAI's shape."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Shown):
    """Models in OpenAI's shape."""

    object: Literal["list"]
    data: list[Model]


class DeliveryAttempt(Shown):
    """One try to tell a receiver."""

    at: Moment
    status_code: int | None
    """what it answered"""
    error: str | None
    """why it answered nothing"""


class Delivery(Shown):
    """What was told of a job's end, and what is to be."""

    id: str
    """the `webhook-id`, the same at every attempt"""
    url: str
    """without its query"""
    status: Told
    attempts: list[DeliveryAttempt]
    """the last 50"""
    next_attempt_at: Moment | None


class WebhookSecret(Shown):
    """What signs a tenant's webhooks; it is shown once."""

    object: Literal["webhook_secret"]
    secret: Annotated[str, Field(pattern=r"^whsec_")]


class PreviousSecret(Shown):
    """The secret of a key before it was rotated."""

    ending: str
    """its last four characters"""
    works_until: Moment


class Key(Shown):
    """An API key without its secret."""

    id: str
    tenant: str
    scopes: list[Literal["admin", "read", "submit"]]
    created_at: Moment
    expires_at: Moment | None
    """`null`: never"""
    ending: str
    """the secret's last four characters"""
    previous: PreviousSecret | None
    """the secret before, while it works, too"""


class NewKey(Key):
    """A key with its secret, which is shown once."""

    key: Annotated[str, Field(pattern=r"^lj_")]
    """send it as `Authorization: Bearer <key>`"""


class OwnLimits(Shown):
    """A tenant's own limits; `null`: the installation's."""

    queued_jobs: int | None
    requests_per_minute: int | None
    retention_seconds: int | None
    image_bytes: int | None


class Tenant(Shown):
    """A tenant that has keys or limits."""

    name: str
    queued: Count
    """jobs of it that wait"""
    limits: OwnLimits


class Health(Shown):
    """The process lives."""

    status: Literal["ok"]


class Readiness(Shown):
    """A job would be accepted."""

    status: Literal["ready"]
    workers: dict[str, int]
    """how many workers each model has"""


class JobList(Listed):
    """Jobs, newest first."""

    data: list[Job]


class DeliveryList(Listed):
    """What was told of a job: at most one."""

    data: list[Delivery]


class KeyList(Listed):
    """Keys by tenant, and by id."""

    data: list[Key]


class TenantList(Listed):
    """Tenants by name."""

    data: list[Tenant]
