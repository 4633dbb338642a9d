"""Every setting: its name, its default and its meaning, in one table."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.errors import ConfigurationError
from jobs.lists import listed

DEMO_MODEL = "demo"


class Settings(BaseSettings):
    """What can be set, each from the environment variable ``LLAVA_JOBS_<NAME>``."""

    model_config = SettingsConfigDict(
        env_prefix="LLAVA_JOBS_", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis (6.2 or newer) or Valkey to use; unset: the embedded Valkey of `up`",
    )
    durability: Literal["disk", "memory"] = Field(
        default="disk",
        description="disk: a job is accepted once it is synced to disk; memory: once it is stored",
    )
    durability_timeout_ms: int = Field(
        default=2_000, ge=1, description="how long acceptance waits for the disk before it is 503"
    )
    durable_replicas: int = Field(
        default=0,
        ge=0,
        description="replicas of the store that must have a job on disk, too, before it is "
        "accepted; with Sentinel: 1 or more, or a failover may lose what was accepted last",
    )
    bootstrap_key: SecretStr | None = Field(
        default=None, description="the first key, instead of one made and printed at first start"
    )

    model: str = Field(
        default=DEMO_MODEL,
        description="model to serve: `demo`, a folder, or a hub name such as "
        "llava-hf/llava-v1.6-mistral-7b-hf",
    )
    model_name: str | None = Field(
        default=None, description="name of the model in the API; unset: the last part of `model`"
    )
    model_revision: str = Field(
        default="main", description="revision of a hub model; pin a commit in production"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="precision of weights; auto: float32 on CPU, bfloat16 on GPU"
    )
    engine: Literal["transformers", "vllm"] = Field(
        default="transformers", description="the built-in engine, or vLLM where it is installed"
    )
    tensor_parallel: int = Field(default=1, ge=1, description="vllm: GPUs that share each layer")
    pipeline_parallel: int = Field(default=1, ge=1, description="vllm: GPUs in a row of layers")
    quantize: Literal["none", "int8", "fp8", "int4", "nf4"] = Field(
        default="none",
        description="bits of the language model's weights: int8 and nf4 (4 bits) anywhere; int4 "
        "and fp8 on a GPU of CUDA compute capability 8.0 and 8.9 or more",
    )
    slow_attention: bool = Field(
        default=False, description="on a GPU, torch's plain attention: several times slower"
    )
    device_map: Literal["", "auto", "balanced", "sequential"] = Field(
        default="",
        description="spread a model that fits no single device: auto or balanced, evenly over all "
        "GPUs; sequential, one after another; then main memory, then disk; such a worker answers "
        "one job at a time and ignores `device`, `slots` and `cache_tokens`",
    )
    slots: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="jobs that a worker answers at once; unset: as many as fit a GPU, 32 on a CPU",
    )
    preprocess_processes: int | None = Field(
        default=None,
        ge=0,
        description="processes that prepare pictures in a worker, 0: in its threads; unset: half "
        "the cores, at most 8, for a GPU, and 0 on a CPU",
    )
    cache_tokens: int = Field(
        default=0, ge=0, description="context tokens of a worker's cache; 0: from slots and model"
    )
    drain_seconds: float = Field(
        default=25, ge=0, description="on SIGTERM, how long jobs may run before they go back"
    )

    policy: str = Field(
        default="",
        description="content policy of the workers, as module:Class, such as "
        "`examples.policy:PrivacyPolicy`; the API needs to know it, too; unset: nothing is refused",
    )
    policy_timeout_s: float = Field(
        default=5,
        gt=0,
        le=8,  # a draining worker waits for 10 s for what it has stopped
        description="time that the content policy has for one question or answer",
    )

    step_stall_seconds: float = Field(
        default=300,
        gt=0,
        description="a worker whose engine takes so long for one step ends, and is to be restarted",
    )
    claim_stall_seconds: float = Field(
        default=30,
        gt=0,
        description="a worker that claims nothing for so long while jobs and hints wait and slots "
        "are free ends, and is to be restarted",
    )
    pulse_file: Path | None = Field(
        default=None,
        description="file that a worker or a sender of webhooks touches while it is well, for "
        "`python -m jobs.pulse` to look at; each needs one of its own; unset: none",
    )

    lease_ms: int = Field(
        default=30_000, ge=500, description="a job whose worker is silent for so long is requeued"
    )
    renew_ms: int = Field(default=5_000, ge=50, description="how often a worker renews its leases")
    sweep_ms: int = Field(
        default=1_000, ge=20, description="how often leases, deadlines and hints are checked"
    )
    max_attempts: int = Field(
        default=5, ge=1, description="attempts at a job whose failures are transient"
    )
    max_crashes: int = Field(
        default=3, ge=1, description="crashes that a job may be part of before it fails as poison"
    )
    queue_lifetime_s: int = Field(
        default=86_400, ge=1, description="a job that has not ended after so long fails as expired"
    )
    retention_s: int = Field(
        default=86_400, ge=1, description="how long a finished job and its pictures are kept"
    )
    upload_retention_s: int = Field(
        default=86_400, ge=1, description="how long a picture is kept that later jobs may name"
    )
    tenant_queue_limit: int = Field(
        default=100_000, ge=1, description="queued jobs that one tenant may have; above: 429"
    )
    requests_per_minute: int = Field(
        default=60_000,
        ge=1,
        le=1_000_000,
        description="requests to the API that one tenant may send in a minute; above: 429",
    )
    tenant_image_bytes: int = Field(
        default=2 << 30, ge=1024, description="bytes of a tenant's pictures; above: 429"
    )
    queue_limit: int = Field(
        default=2_000_000, ge=1, description="queued jobs of all tenants together; above: 503"
    )

    store_memory_mb: int | None = Field(
        default=None,
        ge=64,
        description="memory of the embedded store (its maxmemory), in MB; unset: a quarter of the "
        "machine's",
    )
    memory_limit_percent: int = Field(
        default=85,
        ge=1,
        le=99,
        description="share of the store's maxmemory above which nothing is accepted: 503",
    )

    max_body_bytes: int = Field(default=32 << 20, ge=1024, description="largest request body")
    body_bytes: int = Field(
        default=40 << 20, ge=1024, description="bytes of bodies in an API process; above: 429, 503"
    )
    max_image_pixels: int = Field(default=50_000_000, ge=256, description="largest picture, pixels")
    max_images: int = Field(default=8, ge=1, description="pictures that one job may carry")
    max_question_chars: int = Field(default=8_000, ge=1, description="longest text of one turn")
    max_new_tokens_limit: int = Field(
        default=4_096, ge=1, description="largest max_new_tokens that a job may ask for"
    )
    connections: int = Field(
        default=96,
        ge=1,
        description="streams, and other calls held open, of one API process; above: 503",
    )
    tenant_connections: int = Field(
        default=64, ge=1, description="such calls of one tenant in one API process; above: 429"
    )
    chat_timeout_s: float = Field(
        default=300,
        gt=0,
        description="how long a chat completion waits for its answer before 504; its job goes on",
    )
    image_processes: int | None = Field(
        default=None,
        ge=1,
        description="decoders of uploads of an API process, all but one for one tenant; unset: as "
        "many as cores, at most 4",
    )
    image_timeout_s: float = Field(
        default=5,
        gt=0,
        description="processor time of decoding an upload; it is ended after twice as much, 422, "
        "or after four times as long on a busy machine, 503",
    )

    session_s: int = Field(
        default=43_200, ge=60, description="how long somebody stays signed in to the pages"
    )
    sign_ins_per_minute: int = Field(
        default=30, ge=1, le=10_000, description="tries to sign in from one address in a minute"
    )

    image_url_hosts: str = Field(
        default="",
        description="hosts from which pictures are fetched that come as URLs, such as "
        "`cdn.example.com, *.example.org`, over HTTPS; unset: none are",
    )
    image_url_timeout_s: float = Field(
        default=5, gt=0, description="time that fetching one picture may take"
    )

    max_file_bytes: int = Field(
        default=200 * 1024 * 1024, ge=1024, description="largest file, such as a batch's input"
    )
    tenant_file_bytes: int = Field(
        default=2 * 1024 * 1024 * 1024,
        ge=1024,
        description="bytes that a tenant's files may have together, in the store's memory",
    )
    file_retention_s: int = Field(
        default=7 * 86_400,
        ge=3_600,
        description="how long a file is kept; what a batch wrote, from its end on",
    )
    batch_jobs: int = Field(
        default=512,
        ge=1,
        le=1_000,
        description="jobs of one batch that wait or run at the same time; the rest is in its file",
    )
    batch_ms: int = Field(default=250, ge=10, description="how often batches are looked at")

    public_url: str = Field(
        default="",
        description="root of the API as callers reach it, such as https://jobs.example.com; unset: "
        "answers name it as their callers did, and webhooks carry paths alone",
    )
    webhook_slots: int = Field(
        default=64, ge=1, description="webhooks that one sender sends at the same time"
    )
    webhook_slots_per_host: int = Field(
        default=4,
        ge=1,
        description="webhooks that all senders together send to one host at the same time",
    )
    webhook_slots_per_tenant: int = Field(
        default=32,
        ge=1,
        description="webhooks that all senders together send for one tenant at the same time",
    )
    webhook_timeout_s: float = Field(
        default=15, gt=0, description="time that a receiver of a webhook has to answer"
    )
    webhook_networks: str = Field(
        default="",
        description="private networks to which webhooks may go, such as `10.1.0.0/16`; unset: none",
    )
    webhook_http_hosts: str = Field(
        default="", description="hosts to which webhooks may go without TLS, by http; unset: none"
    )

    access_log: bool = Field(default=True, description="one line of log for a request to the API")
    metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65_535,
        description="port on which a worker shows its metrics to Prometheus, each worker of `up` "
        "on the next; unset: it shows none",
    )
    otlp_endpoint: str = Field(
        default="",
        description="OpenTelemetry collector that takes traces by OTLP over HTTP, such as "
        "http://collector:4318; needs the extra `telemetry`; unset: none are sent",
    )

    @field_validator("webhook_networks")
    @classmethod
    def _networks_are_networks(cls, value: str) -> str:
        for text in listed(value):
            ip_network(text)
        return value

    @property
    def served_model(self) -> str:
        """The name under which the API and the ledger know the model."""
        return self.model_name or Path(self.model).name

    @property
    def revision(self) -> str:
        """Of what an answer is, besides the model's name: no other's is given in its place."""
        return f"{self.model_revision} {self.policy}".rstrip()

    @property
    def required_redis_url(self) -> str:
        """The store's URL; raises ConfigurationError where none is set."""
        if self.redis_url is None:
            raise ConfigurationError(
                "no store: set LLAVA_JOBS_REDIS_URL to a Redis 6.2+ or Valkey URL, "
                "or start everything with `llava-jobs up`, which brings its own"
            )
        return self.redis_url.get_secret_value()
