"""A receiver between a helpdesk and llava-jobs: pictures in, answers back as internal notes."""

from __future__ import annotations

import threading
from typing import Any

import httpx
from flask import Flask, request
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from standardwebhooks import Webhook, WebhookVerificationError

from examples.helpdesk.chatwoot import Chatwoot
from examples.helpdesk.comments import Helpdesk, Place
from examples.helpdesk.jobs import Jobs
from examples.helpdesk.zendesk import Zendesk

Answer = tuple[dict[str, str], int] | tuple[dict[str, str], int, dict[str, str]]


class Settings(BaseSettings):
    """What the receiver needs to know, from environment variables ``HELPDESK_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="HELPDESK_", env_ignore_empty=True, frozen=True)

    jobs_url: str = "http://127.0.0.1:8000"
    jobs_key: SecretStr
    jobs_webhook_secret: SecretStr
    public_url: str = "http://127.0.0.1:8100"
    question: str = "What is the error code?"

    zendesk_url: str = ""
    zendesk_email: str = ""
    zendesk_token: SecretStr = SecretStr("")
    zendesk_secret: SecretStr = SecretStr("")

    chatwoot_url: str = ""
    chatwoot_account: int = 1
    chatwoot_token: SecretStr = SecretStr("")
    chatwoot_secret: SecretStr = SecretStr("")


def helpdesks(settings: Settings) -> list[Helpdesk]:
    """Return the helpdesks that have a URL and a secret in the settings."""
    found: list[Helpdesk] = []
    if settings.zendesk_url and settings.zendesk_secret:
        token, secret = settings.zendesk_token, settings.zendesk_secret
        sends_as = (settings.zendesk_email, token.get_secret_value())
        found.append(Zendesk(settings.zendesk_url, *sends_as, secret.get_secret_value()))
    if settings.chatwoot_url and settings.chatwoot_secret:
        token, secret = settings.chatwoot_token, settings.chatwoot_secret
        tokens = (token.get_secret_value(), secret.get_secret_value())
        found.append(Chatwoot(settings.chatwoot_url, settings.chatwoot_account, *tokens))
    return found


class Notes:
    """Writes answers into tickets, each once, however often their webhook comes.

    What has been written is looked up in the ticket itself, by a mark in the note: no database, and
    nothing is forgotten in a crash between writing and noting it down. The lock is why the receiver
    is one process: two deliveries at once must not both find nothing.
    """

    def __init__(self, desks: dict[str, Helpdesk], jobs: Jobs) -> None:
        self._desks = desks
        self._jobs = jobs
        self._lock = threading.Lock()

    def write(self, told: dict[str, Any]) -> None:
        """Write the answer of the job that ended; nothing where there is none to write."""
        desk = self._desks.get(told["metadata"].get("helpdesk", ""))
        job = self._jobs.get(told["id"]) if desk else None
        if desk is None or job is None or job["status"] == "canceled":
            return
        said = job["answer"]["text"] if job["answer"] else job["error"]["message"]
        place = Place(job["metadata"]["ticket"], job["metadata"]["comment"])
        mark = f"[llava-jobs: pictures of comment {place.comment}]"
        with self._lock:
            if not desk.has_note(place, mark):
                desk.add_note(place, f"{said}\n\n{mark}")


def create_app(settings: Settings | None = None) -> Flask:
    """Return the application; raises pydantic.ValidationError where a setting is missing."""
    settings = settings or Settings()
    app = Flask("helpdesk")
    app.config["MAX_CONTENT_LENGTH"] = 1024 * 1024
    desks = {desk.name: desk for desk in helpdesks(settings)}
    answers = f"{settings.public_url}/answers"
    jobs = Jobs(settings.jobs_url, settings.jobs_key.get_secret_value(), answers)
    notes = Notes(desks, jobs)
    webhook = Webhook(settings.jobs_webhook_secret.get_secret_value())

    @app.post("/comments/<name>")
    def hear(name: str) -> Answer:
        """Ask about the pictures of a comment that a helpdesk tells of."""
        desk = desks.get(name)
        if desk is None:
            return {"error": "no such helpdesk is set up"}, 404
        if not desk.is_genuine(request.headers, request.get_data()):
            return {"error": "the signature is missing, old or wrong"}, 401
        try:
            comment = desk.comment(request.get_json())
        except (KeyError, TypeError, ValueError):
            return {"error": "this is not what that helpdesk sends"}, 400
        job = jobs.submit(name, comment, settings.question) if comment else None
        return ({"job": job}, 202) if job else ({"asked": "nothing: there is no picture"}, 200)

    @app.post("/answers")
    def answered() -> Answer:
        """Write the answer of a job that llava-jobs says has ended."""
        try:
            told = webhook.verify(request.get_data(), dict(request.headers))
        except WebhookVerificationError:
            return {"error": "the signature is missing, old or wrong"}, 401
        notes.write(told)
        return {}, 200

    @app.errorhandler(httpx.HTTPError)
    def away(error: httpx.HTTPError) -> Answer:
        """Have the sender try again where a helpdesk, or llava-jobs, is away or refuses us."""
        app.logger.warning("not reached: %s", type(error).__name__)
        return {"error": "try again"}, 503, {"Retry-After": "30"}

    return app
