"""Zendesk and Chatwoot on loopback, as far as a receiver of their webhooks meets them.

They refuse what the real ones refuse: other credentials, other shapes, an unsigned URL.
"""

import hmac
import json
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from flask import Flask, Response, abort, redirect, request
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.eventually import PATIENCE_S

EMAIL, TOKEN, SECRET = "agent@example.com", "t0ken", "dGhpc19pcw=="
ACCOUNT = 3
PAGE = 2
"""Comments and messages on one page: few, so that a reader must turn pages."""


class Silent(WSGIRequestHandler):
    """Serves without a line for each request, and keeps Chatwoot's header, for its underscores."""

    def make_environ(self) -> Any:
        """Return the request with the header that is left out elsewise."""
        environ = super().make_environ()
        if "api_access_token" in self.headers:
            environ["HTTP_API_ACCESS_TOKEN"] = self.headers["api_access_token"]
        return environ

    def log(self, *_: Any, **__: Any) -> None:
        """Say nothing."""


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """Serve an application on loopback; its root."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join(PATIENCE_S)
        server.server_close()


@dataclass
class Storage:
    """Where helpdesks keep files: whoever has a signed URL may read, and credentials are a leak."""

    files: dict[str, bytes] = field(default_factory=dict)
    url: str = ""
    leaks: list[str] = field(default_factory=list)

    def app(self) -> Flask:
        """Its HTTP side."""
        app = Flask("storage")

        @app.get("/files/<name>")
        def read(name: str) -> Response:
            self.leaks += [h for h in ("Authorization", "Api-Access-Token") if h in request.headers]
            return Response(self.files[name], mimetype="image/png")

        return app

    def keep(self, name: str, content: bytes) -> str:
        """Keep a file; where it is to be read."""
        self.files[name] = content
        return f"{self.url}/files/{name}"


@dataclass
class Zendesk:
    """A Zendesk account with tickets; ``loses`` answers to that many notes, once written."""

    storage: Storage
    url: str = ""
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    loses: int = 0

    def app(self) -> Flask:
        """Its HTTP side."""
        app = Flask("zendesk")
        expected = b64encode(f"{EMAIL}/token:{TOKEN}".encode()).decode()

        @app.before_request
        def authenticate() -> None:
            if request.headers.get("Authorization") != f"Basic {expected}":
                abort(401)

        @app.get("/attachments/token/<name>/")
        def attachment(name: str) -> Any:
            return redirect(f"{self.storage.url}/files/{name}")

        @app.get("/api/v2/tickets/<int:ticket>/comments.json")
        def listed(ticket: int) -> Any:
            assert request.args["sort"] == "-created_at"
            assert int(request.args["page[size]"]) <= 100
            start = int(request.args.get("page[after]", "0"))
            found = self.comments[ticket][::-1]
            return {
                "comments": found[start : start + PAGE],
                "meta": {
                    "has_more": len(found) > start + PAGE,
                    "after_cursor": str(start + PAGE),
                },
            }

        @app.put("/api/v2/tickets/<int:ticket>.json")
        def update(ticket: int) -> Any:
            told = request.get_json()
            assert set(told) == {"ticket"}
            assert set(told["ticket"]) == {"comment"}
            comment = told["ticket"]["comment"]
            assert set(comment) == {"body", "public"}
            self.write(ticket, comment["body"], public=comment["public"])
            if self.loses:
                self.loses -= 1
                abort(500)
            return {"ticket": {"id": ticket}}

        return app

    def write(
        self, ticket: int, text: str, *, public: bool = True, pictures: tuple[bytes, ...] = ()
    ) -> int:
        """Add a comment to a ticket; its id."""
        comments = self.comments.setdefault(ticket, [])
        number = 1000 * ticket + len(comments)
        names = [f"zd-{number}-{place}" for place in range(len(pictures))]
        for name, picture in zip(names, pictures, strict=True):
            self.storage.keep(name, picture)
        attachments = [
            {
                "id": place,
                "file_name": "photo.png",
                "content_type": "image/png",
                "content_url": f"{self.url}/attachments/token/{name}/?name=photo.png",
            }
            for place, name in enumerate(names)
        ]
        log = {"content_type": "text/plain", "content_url": f"{self.url}/attachments/token/log/"}
        comments.append(
            {
                "id": number,
                "type": "Comment",
                "body": text,
                "plain_body": text,
                "public": public,
                "attachments": [log, *attachments] if attachments else [],
            }
        )
        return number

    def tell(
        self, receiver: str, ticket: int, comment: int, secret: str = SECRET, age_s: int = 0
    ) -> Any:
        """Send what a trigger sends, with its placeholders filled in, signed a while ago."""
        body = json.dumps({"ticket_id": str(ticket), "comment_id": str(comment)}).encode()
        signed = datetime.now(UTC) - timedelta(seconds=age_s)
        at = signed.isoformat(timespec="seconds").replace("+00:00", "Z")
        signature = hmac.digest(secret.encode(), at.encode() + body, "sha256")
        headers = {
            "Content-Type": "application/json",
            "X-Zendesk-Webhook-Signature": b64encode(signature).decode(),
            "X-Zendesk-Webhook-Signature-Timestamp": at,
        }
        url = f"{receiver}/comments/zendesk"
        return httpx.post(url, content=body, headers=headers, timeout=12)

    def notes(self, ticket: int) -> list[str]:
        """The internal notes of a ticket."""
        return [comment["body"] for comment in self.comments[ticket] if not comment["public"]]


@dataclass
class Chatwoot:
    """A Chatwoot account with conversations; whoever reads waits for the ``meeting``, if any."""

    storage: Storage
    url: str = ""
    messages: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    meeting: threading.Barrier | None = None

    def app(self) -> Flask:
        """Its HTTP side."""
        app = Flask("chatwoot")

        @app.get("/rails/active_storage/blobs/redirect/signed/<name>")
        def blob(name: str) -> Any:
            return redirect(f"{self.storage.url}/files/{name}")

        path = f"/api/v1/accounts/{ACCOUNT}/conversations/<int:conversation>/messages"

        @app.before_request
        def authenticate() -> None:
            is_api = request.path.startswith("/api/")
            if is_api and request.headers.get("Api-Access-Token") != TOKEN:
                abort(401)

        @app.get(path)
        def listed(conversation: int) -> Any:
            before = int(request.args.get("before", str(2**31)))
            found = [m for m in self.messages[conversation] if m["id"] < before]
            if self.meeting:
                with suppress(threading.BrokenBarrierError):
                    self.meeting.wait()
            return {"meta": {}, "payload": found[-PAGE:]}

        @app.post(path)
        def create(conversation: int) -> Any:
            told = request.get_json()
            assert set(told) == {"content", "message_type", "private"}
            assert told["message_type"] == "outgoing"
            self.write(conversation, told["content"], private=told["private"], incoming=False)
            return self.messages[conversation][-1]

        return app

    def write(
        self, conversation: int, text: str, *, private: bool = False, incoming: bool = True
    ) -> int:
        """Add a message to a conversation; its id."""
        messages = self.messages.setdefault(conversation, [])
        number = 1000 * conversation + len(messages)
        messages.append(
            {
                "id": number,
                "content": text,
                "conversation_id": conversation,
                "message_type": 0 if incoming else 1,
                "private": private,
            }
        )
        return number

    def tell(self, receiver: str, conversation: int, message: int, **changes: Any) -> Any:
        """Send a `message_created` event of a customer's message, with changes."""
        pictures: tuple[bytes, ...] = changes.pop("pictures", ())
        secret: str = changes.pop("secret", SECRET)
        age_s: int = changes.pop("age_s", 0)
        names = [f"cw-{message}-{place}" for place in range(len(pictures))]
        for name, picture in zip(names, pictures, strict=True):
            self.storage.keep(name, picture)
        root = f"{self.url}/rails/active_storage/blobs/redirect/signed"
        event = {
            "event": "message_created",
            "id": message,
            "content": "Look at this",
            "message_type": "incoming",
            "content_type": "text",
            "private": False,
            "account": {"id": ACCOUNT, "name": "Acme"},
            "inbox": {"id": 1, "name": "Website"},
            "conversation": {"id": conversation, "channel": "Channel::WebWidget"},
            "sender": {"id": 7, "name": "A customer", "type": "contact"},
            "attachments": [
                {"id": 1, "message_id": message, "file_type": "image", "data_url": f"{root}/{name}"}
                for name in names
            ],
            **changes,
        }
        body = json.dumps(event).encode()
        at = str(int(time.time()) - age_s)
        signature = hmac.digest(secret.encode(), f"{at}.".encode() + body, "sha256").hex()
        headers = {
            "Content-Type": "application/json",
            "X-Chatwoot-Delivery": "d3b07384",
            "X-Chatwoot-Timestamp": at,
            "X-Chatwoot-Signature": f"sha256={signature}",
        }
        url = f"{receiver}/comments/chatwoot"
        return httpx.post(url, content=body, headers=headers, timeout=5)

    def notes(self, conversation: int) -> list[str]:
        """The private notes of a conversation."""
        return [m["content"] for m in self.messages[conversation] if m["private"]]
