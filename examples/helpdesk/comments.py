"""What a helpdesk tells of: where a comment stands, and the pictures that came with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from werkzeug.datastructures import Headers


@dataclass(frozen=True)
class Place:
    """A comment on a ticket, or a message in a conversation, by the helpdesk's own numbers."""

    ticket: int
    comment: int


@dataclass(frozen=True)
class Comment:
    """What a customer wrote, as far as it is asked about."""

    place: Place
    pictures: tuple[bytes, ...] = field(repr=False)


class Helpdesk(Protocol):
    """A helpdesk: what it sends us, and what we write into it.

    All methods raise httpx.HTTPError where its API cannot be reached or refuses.
    """

    name: str

    def is_genuine(self, headers: Headers, body: bytes) -> bool:
        """Whether the helpdesk itself sent this, a moment ago."""

    def comment(self, told: Any) -> Comment | None:
        """Return the customer's comment that is told of; None where there is nothing to ask.

        Raises KeyError, TypeError or ValueError where what is told is of another shape.
        """

    def has_note(self, place: Place, mark: str) -> bool:
        """Whether an internal note with this mark was written since the comment."""

    def add_note(self, place: Place, text: str) -> None:
        """Write an internal note, which customers do not see."""
