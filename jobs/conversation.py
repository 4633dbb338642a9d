"""What a job asks: texts and pictures, turn by turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class ImagePart:
    """A picture within a turn, by the digest of its canonical bytes; sizes in pixels.

    ``detail`` "high" has a large picture read once more in overlapping crops.
    """

    digest: str
    width: int
    height: int
    detail: Literal["auto", "high"] = "auto"

    def to_data(self) -> dict[str, Any]:
        """Return the picture as JSON data."""
        return _without_unset(self, "detail")


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation; its parts are texts and pictures in reading order."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | ImagePart, ...]


@dataclass(frozen=True)
class Conversation:
    """The turns that a job answers; the last is the user's."""

    turns: tuple[Turn, ...]

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """All pictures, in the order in which the model sees them."""
        return tuple(p for t in self.turns for p in t.parts if isinstance(p, ImagePart))

    @property
    def question(self) -> str:
        """The text of the last user turn."""
        return "\n".join(p for p in self.turns[-1].parts if isinstance(p, str))

    def to_data(self) -> list[dict[str, Any]]:
        """Return the turns as JSON data: ``[{"role", "parts": [text | {"digest", ...}]}]``."""
        return [
            {"role": t.role, "parts": [p if isinstance(p, str) else p.to_data() for p in t.parts]}
            for t in self.turns
        ]

    @classmethod
    def from_data(cls, data: list[dict[str, Any]]) -> Conversation:
        """Read what ``to_data`` wrote."""
        return cls(
            tuple(
                Turn(
                    t["role"],
                    tuple(
                        p if isinstance(p, str) else ImagePart(**_known(ImagePart, p))
                        for p in t["parts"]
                    ),
                )
                for t in data
            )
        )
