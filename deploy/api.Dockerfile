# The API: no torch, no model. Build from the repository's root:
#   docker build -f deploy/api.Dockerfile -t llava-jobs-api .
FROM python:3.12-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
COPY requirements.lock pyproject.toml README.md ./
COPY jobs jobs
COPY api api
COPY llava_jobs llava_jobs
# The lock constrains the versions; the packages are those that pyproject.toml names for the API.
RUN grep -v '^torch==' requirements.lock > constraints.txt \
    && pip install setuptools==83.0.0 \
    && pip install --no-build-isolation -c constraints.txt . \
    && useradd --create-home --uid 10001 llava
USER llava
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["gunicorn", "-c", "python:api.serving", "-b", "0.0.0.0:8000", "api:create_app()"]
