"""Records as the store replies them, and as the rest of the program reads them."""

from __future__ import annotations

from collections.abc import Mapping


def record(flat: list[bytes]) -> dict[str, str]:
    """Return the fields of a record from a list of names and values in turn."""
    return decoded(dict(zip(flat[::2], flat[1::2], strict=True)))


def decoded(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the fields of a record as text."""
    return {name.decode(): value.decode() for name, value in fields.items()}
