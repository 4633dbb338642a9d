"""Zendesk: a trigger's webhook in, an internal note out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from werkzeug.datastructures import Headers

from examples.helpdesk.comments import Comment, Place
from examples.helpdesk.pictures import fetched
from examples.helpdesk.signatures import zendesk_signed


class Zendesk:
    """One Zendesk account; ``url`` is its root, ``secret`` the signing secret of the webhook.

    The trigger's JSON body is
    ``{"ticket_id": "{{ticket.id}}", "comment_id": "{{ticket.latest_comment.id}}"}``: placeholders
    know no attachments, so that the comment is read over the API.
    """

    name = "zendesk"

    def __init__(self, url: str, email: str, token: str, secret: str) -> None:
        self._url = url
        self._secret = secret
        self._auth = httpx.BasicAuth(f"{email}/token", token)
        self._http = httpx.Client(base_url=url, auth=self._auth, timeout=5)

    def is_genuine(self, headers: Headers, body: bytes) -> bool:
        """Whether Zendesk itself sent this, a moment ago."""
        return zendesk_signed(headers, body, self._secret)

    def comment(self, told: Any) -> Comment | None:
        """Return a public comment with its pictures; None for notes, and where there are none."""
        place = Place(int(told["ticket_id"]), int(told["comment_id"]))
        for comment in self._since(place):
            if comment["id"] == place.comment and comment["public"]:
                urls = [
                    attachment["content_url"]
                    for attachment in comment["attachments"]
                    if attachment["content_type"].startswith("image/")
                ]
                pictures = fetched(self._url, urls, self._auth)
                return Comment(place, pictures) if pictures else None
        return None

    def has_note(self, place: Place, mark: str) -> bool:
        """Whether an internal note with this mark was written since the comment."""
        return any(
            mark in comment["plain_body"] and not comment["public"]
            for comment in self._since(place)
        )

    def add_note(self, place: Place, text: str) -> None:
        """Write an internal note."""
        change = {"ticket": {"comment": {"body": text, "public": False}}}
        path = f"/api/v2/tickets/{place.ticket}.json"
        self._http.put(path, json=change).raise_for_status()

    def _since(self, place: Place) -> Iterator[dict[str, Any]]:
        """Yield the ticket's comments from the newest down to the one at ``place``."""
        path = f"/api/v2/tickets/{place.ticket}/comments.json"
        query = {"sort": "-created_at", "page[size]": "100"}
        while True:
            response = self._http.get(path, params=query)
            response.raise_for_status()
            page = response.json()
            for comment in page["comments"]:
                yield comment
                if comment["id"] == place.comment:
                    return
            if not page["meta"]["has_more"]:
                return
            query["page[after]"] = page["meta"]["after_cursor"]
