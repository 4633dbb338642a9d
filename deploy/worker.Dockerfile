# A worker with its model's code; the weights come from a volume or a hub, or are the demo's.
#   docker build -f deploy/worker.Dockerfile -t llava-jobs-worker .
FROM python:3.12-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
COPY requirements.lock pyproject.toml README.md ./
# Before the code, so that a change of code does not fetch torch again. On Linux the registry's torch
# carries its own CUDA libraries; the host needs the driver and the container toolkit alone.
RUN pip install -r requirements.lock
COPY jobs jobs
COPY worker worker
COPY demo demo
RUN pip install --no-deps --no-build-isolation . \
    && useradd --create-home --uid 10001 llava \
    && mkdir /models && chown llava /models
USER llava
# Hub downloads land here; mount a volume, and set HF_HUB_OFFLINE=1 once they have.
ENV HF_HOME=/models
VOLUME /models
# Exits 78 where the configuration cannot work, 70 where the engine broke: restart on the latter.
STOPSIGNAL SIGTERM
CMD ["celery", "--quiet", "-A", "worker", "worker", "--loglevel", "WARNING"]
