"""Chatwoot: a `message_created` webhook in, a private note out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from werkzeug.datastructures import Headers

from examples.helpdesk.comments import Comment, Place
from examples.helpdesk.pictures import fetched
from examples.helpdesk.signatures import chatwoot_signed


class Chatwoot:
    """One account of a Chatwoot installation; ``url`` is its root.

    ``token`` is the access token of an agent or a bot, ``secret`` that of the webhook.
    """

    name = "chatwoot"

    def __init__(self, url: str, account: int, token: str, secret: str) -> None:
        self._url = url
        self._account = account
        self._secret = secret
        self._http = httpx.Client(base_url=url, headers={"api_access_token": token}, timeout=5)

    def is_genuine(self, headers: Headers, body: bytes) -> bool:
        """Whether Chatwoot itself sent this, a moment ago."""
        return chatwoot_signed(headers, body, self._secret)

    def comment(self, told: Any) -> Comment | None:
        """Return a customer's message with its pictures; None for all other events."""
        if told["event"] != "message_created" or told["message_type"] != "incoming":
            return None
        if told["private"] or told["account"]["id"] != self._account:
            return None
        urls = [
            attachment["data_url"]
            for attachment in told.get("attachments") or ()
            if attachment["file_type"] == "image"
        ]
        # The URLs are signed; the token would only be shown to whoever keeps the files.
        pictures = fetched(self._url, urls)
        place = Place(int(told["conversation"]["id"]), int(told["id"]))
        return Comment(place, pictures) if pictures else None

    def has_note(self, place: Place, mark: str) -> bool:
        """Whether a private note with this mark was written since the message."""
        return any(
            message["private"] and mark in (message["content"] or "")
            for message in self._since(place)
        )

    def add_note(self, place: Place, text: str) -> None:
        """Write a private note."""
        note = {"content": text, "message_type": "outgoing", "private": True}
        self._http.post(self._messages(place), json=note).raise_for_status()

    def _messages(self, place: Place) -> str:
        return f"/api/v1/accounts/{self._account}/conversations/{place.ticket}/messages"

    def _since(self, place: Place) -> Iterator[dict[str, Any]]:
        """Yield the conversation's messages from the newest down to the one at ``place``."""
        query: dict[str, int] = {}
        while True:
            response = self._http.get(self._messages(place), params=query)
            response.raise_for_status()
            page = sorted(response.json()["payload"], key=lambda message: -message["id"])
            for message in page:
                if message["id"] <= place.comment:
                    return
                yield message
            if not page:
                return
            query["before"] = page[-1]["id"]
