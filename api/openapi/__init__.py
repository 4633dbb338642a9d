"""One description of the HTTP API: `/openapi.json`, the page `/docs` and docs/api.md come of it."""
