"""What a job asks: texts and pictures, turn by turn, and how the answer is generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
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


@dataclass(frozen=True)
class Parameters:
    """How an answer is generated; temperature 0 is greedy, top_k 0 and top_p 1 are off.

    A ``seed`` makes a sampled answer repeatable. An answer ends before the first of ``stop``.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    @property
    def are_repeatable(self) -> bool:
        """Whether the same question has the same answer every time."""
        return self.temperature == 0 or self.seed is not None

    def to_data(self) -> dict[str, Any]:
        """Return the parameters as JSON data."""
        return _without_unset(self, "top_k", "seed", "stop")

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Parameters:
        """Read what ``to_data`` wrote, here or in an older or a newer version."""
        known = _known(cls, data)
        return cls(**{**known, "stop": tuple(known.get("stop", ()))})


def _without_unset(thing: Any, *later: str) -> dict[str, Any]:
    """Return a dataclass as JSON data, without fields of ``later`` that are at their default.

    Those came after the first version, whose workers know no field but their own: while they are
    being replaced, they can still run every job that asks for nothing new.
    """
    unset = {name for name in later if getattr(thing, name) == getattr(type(thing), name)}
    return {name: value for name, value in vars(thing).items() if name not in unset}


def _known(cls: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``data`` that a dataclass has: a newer version may write more."""
    names = {field.name for field in fields(cls)}
    return {name: value for name, value in data.items() if name in names}
