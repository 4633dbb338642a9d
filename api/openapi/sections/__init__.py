"""What is said of each call; whoever adds a route says here what it does."""

from __future__ import annotations

from api.openapi.operation import Operation, Section
from api.openapi.sections import (
    administration,
    batches,
    chat,
    finding,
    jobs,
    operating,
    pictures,
    service,
    webhooks,
)

SECTIONS: tuple[Section, ...] = (
    jobs.SECTION,
    finding.SECTION,
    pictures.SECTION,
    chat.SECTION,
    batches.SECTION,
    webhooks.SECTION,
    administration.SECTION,
    operating.SECTION,
    service.SECTION,
)


def operations() -> list[Operation]:
    """Return all calls, in the order in which they are shown."""
    return [operation for section in SECTIONS for operation in section.operations]
