"""Webhooks: what was told, telling it again, and the secret that signs it."""

from __future__ import annotations

from api.openapi import examples
from api.openapi.answers import DeliveryList, WebhookSecret
from api.openapi.error_codes import at_their_status
from api.openapi.examples import listed
from api.openapi.operation import Answer, Body, Operation, Section
from api.openapi.parameters import JOB_ID
from api.openapi.receipts import DeliveryReceiptList
from api.webhooks.routes import EnableUrl

_DELIVERY = {
    "id": "msg_8f0c6a1d2b3e4f5a6b7c8d9e0f1a2b3c",
    "url": examples.URL,
    "status": "delivered",
    "attempts": [{"at": "2026-11-25T09:30:02.090Z", "status_code": 204, "error": None}],
    "next_attempt_at": None,
}
_SECRET = {"object": "webhook_secret", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}

SECTION = Section(
    "Webhooks",
    "The end of a job is told to the URL in its `webhook`, as Standard Webhooks has it.",
    (
        Operation(
            "POST /v1/webhooks/secret",
            "create_secret",
            "Make the secret",
            detail="One per tenant; without it no job with a webhook is accepted.",
            answers=(Answer(201, "the only time that it can be seen", WebhookSecret, _SECRET),),
            errors=at_their_status("webhook_secret_exists"),
        ),
        Operation(
            "POST /v1/webhooks/secret/rotate",
            "rotate_secret",
            "Give a new secret",
            detail="For a day both sign. After a leak rotate twice.",
            answers=(Answer(200, "the new one, seen only here", WebhookSecret, _SECRET),),
        ),
        Operation(
            "POST /v1/webhooks/enable",
            "enable_url",
            "Send to a URL again",
            detail="One that answered 410. What it missed is sent by "
            "`POST /v1/jobs/{job_id}/deliveries`.",
            body=Body(EnableUrl, {"url": examples.URL}),
            answers=(Answer(204, "enabled"),),
            errors=at_their_status("webhook_not_disabled"),
        ),
        Operation(
            "GET /v1/jobs/{job_id}/deliveries",
            "list_deliveries",
            "Look at what was told",
            parameters=(JOB_ID,),
            answers=(Answer(200, "a list of at most one", DeliveryList, listed(_DELIVERY)),),
            errors=at_their_status("job_not_found"),
        ),
        Operation(
            "POST /v1/jobs/{job_id}/deliveries",
            "send_again",
            "Tell a job's end again",
            parameters=(JOB_ID,),
            answers=(
                Answer(
                    202,
                    "it is sent at once",
                    DeliveryList,
                    listed(_DELIVERY),
                    receipt=DeliveryReceiptList,
                ),
            ),
            errors=at_their_status(
                *("job_not_found", "webhook_missing", "webhook_disabled", "job_not_ended")
            ),
        ),
    ),
)
