"""The HTTP API: `gunicorn 'api:create_app()'`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from jobs.settings import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """Return the WSGI application, set up from ``settings`` or from the environment.

    Raises ConfigurationError where the store is missing or cannot keep its promise. Importing this
    package imports no Flask, so that the processes that decode pictures stay small.
    """
    from api.app import create_app as create
    from jobs.settings import Settings as Environment

    return create(settings or Environment())
