# A worker with its model's code; the weights come from a volume, or are the demo's.
#   docker build -f deploy/worker.Dockerfile -t llava-jobs-worker .
# On Linux the registry's torch carries its own CUDA libraries; the host needs the driver and the
# container toolkit alone. An index of torch built for CPUs makes the image a fraction as large:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu ...
FROM python:3.12.11-slim-bookworm AS build
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /venv && /venv/bin/pip install setuptools==83.0.0
# Before the code, so that a change of code does not fetch torch again.
COPY requirements.lock pyproject.toml README.md ./
RUN /venv/bin/pip install --no-build-isolation ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    -c requirements.lock '.[worker,quantize,telemetry]'
COPY jobs jobs
COPY worker worker
COPY demo demo
RUN /venv/bin/pip install --no-deps --no-build-isolation . && /venv/bin/pip uninstall -y pip

FROM python:3.12.11-slim-bookworm
# Triton compiles a launcher in C for each kernel when a worker starts on a GPU.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --no-create-home --uid 10001 llava && mkdir /models && chown llava /models
COPY --from=build /venv /venv
# HOME: what torch and Triton compile lands there, and all else is read-only. No hub is asked at a start:
# the model is fetched into the volume beforehand, once (docs/operations.md).
ENV PATH=/venv/bin:$PATH HOME=/tmp HF_HOME=/models HF_HUB_OFFLINE=1 \
    LLAVA_JOBS_PULSE_FILE=/tmp/pulse PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
USER 10001:10001
VOLUME /models
# Celery's own ping freezes during a drain; this looks whether the worker's watchdog does.
HEALTHCHECK --interval=15s --timeout=10s --start-period=15m CMD ["python", "-m", "jobs.pulse"]
# Exits 78 where the configuration cannot work, 70 where the engine broke: restart on the latter.
STOPSIGNAL SIGTERM
CMD ["celery", "--quiet", "-A", "worker", "worker", "--loglevel", "WARNING"]
