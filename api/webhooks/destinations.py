"""Receivers of webhooks, as far as a request can name one."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from api.jobs.request import WebhookInput
from jobs.deliveries import Deliveries
from jobs.errors import InvalidRequest
from jobs.reach import Rules, Unreached
from jobs.scripts import Durability
from jobs.sender import webhook_rules
from jobs.settings import Settings
from jobs.webhook import Webhook
from jobs.webhook_secrets import WebhookSecrets


@dataclass(frozen=True)
class Receivers:
    """What is known of receivers: where webhooks may go, secrets, and what is sent to them."""

    rules: Rules
    secrets: WebhookSecrets
    deliveries: Deliveries

    def accept(self, tenant: str, asked: WebhookInput) -> Webhook:
        """Return the webhook that a request asks for; nothing is resolved or connected to.

        Raises InvalidRequest: ``webhook_url_invalid``, ``webhook_url_forbidden``,
        ``webhook_secret_missing``.
        """
        try:
            host = self.rules.checked(asked.url).raw_host.decode()
        except Unreached as error:
            raise _refusal(error.code) from None
        if not self.secrets.valid(tenant):
            raise InvalidRequest(
                "you have no secret that webhooks would be signed with; make one with "
                "POST /v1/webhooks/secret",
                code="webhook_secret_missing",
                param="webhook",
            )
        return Webhook(asked.url, host, tuple(dict.fromkeys(asked.events)))


def receivers(client: redis.Redis, settings: Settings, durability: Durability) -> Receivers:
    """Return what is known of receivers, as the settings want it."""
    secrets = WebhookSecrets(client, durability=durability, replicas=settings.durable_replicas)
    return Receivers(webhook_rules(settings), secrets, Deliveries(client))


def _refusal(code: str) -> InvalidRequest:
    if code == "url_invalid":
        return InvalidRequest(
            "a webhook's url is https://host/..., in ASCII where it is no name, and without spaces",
            code="webhook_url_invalid",
            param="webhook.url",
        )
    return InvalidRequest(
        "webhooks are not sent there: only by HTTPS, to public addresses, and to no URL with a "
        "user or a password",
        code="webhook_url_forbidden",
        param="webhook.url",
    )
