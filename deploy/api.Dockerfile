# The API, and the sender of webhooks: no torch, no model. Build from the repository's root:
#   docker build -f deploy/api.Dockerfile -t llava-jobs-api .
FROM python:3.12.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /venv && /venv/bin/pip install setuptools==83.0.0
# What it needs comes first, into a layer that a change of code leaves as it is. The lock constrains the
# versions; the packages are those that pyproject.toml names for the API.
COPY requirements.lock pyproject.toml README.md ./
RUN /venv/bin/pip install --no-build-isolation -c requirements.lock '.[heic,telemetry]'
COPY jobs jobs
COPY api api
COPY llava_jobs llava_jobs
RUN /venv/bin/pip install --no-deps --no-build-isolation . && /venv/bin/pip uninstall -y setuptools pip

FROM python:3.12.11-slim-bookworm
RUN useradd --no-create-home --uid 10001 llava
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
# By number, so that Kubernetes sees that it is not root.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["gunicorn", "-c", "python:api.server.gunicorn_conf", "-b", "0.0.0.0:8000", "api:create_app()"]
